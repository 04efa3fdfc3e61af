"""What Hugging Face transformers computes with small PaliGemma checkpoints of our own."""
