"""The checkpoints of `tests/fixtures`.

family   1 = PaliGemma (Gemma), 2 = PaliGemma 2 (Gemma 2)
layout   "hub": tensor names and sparse config.json of the google/paligemma repositories
         "v5": names that transformers 5 writes (model.language_model...), full config.json
shards   number of model-0000x-of-0000n.safetensors files; 1 is one model.safetensors
dtype    how the weights are stored
vocab_size  rows of the embedding, where more are wanted than there are tokens
endless  the end token never comes, so that an answer is as long as it may be
seed     chosen so that greedy decoding meets no near tie: see `cases.fair`
"""

import copy

PRESETS = {
    # One key-value head, as the real PaliGemma has.
    "pg1_mqa": dict(
        seed=26,
        family=1,
        layout="hub",
        shards=1,
        dtype="f32",
        vision=dict(
            hidden_size=48,
            num_attention_heads=4,
            intermediate_size=104,
            num_hidden_layers=3,
            image_size=56,
        ),
        text=dict(
            hidden_size=80,
            num_attention_heads=5,
            num_key_value_heads=1,
            head_dim=24,
            intermediate_size=176,
            num_hidden_layers=3,
        ),
    ),
    # Grouped queries in a PaliGemma 1, 64 image tokens.
    "pg1_gqa_bf16": dict(
        seed=22,
        family=1,
        layout="v5",
        shards=1,
        dtype="bf16",
        vision=dict(
            hidden_size=56,
            num_attention_heads=4,
            intermediate_size=112,
            num_hidden_layers=2,
            image_size=112,
        ),
        text=dict(
            hidden_size=72,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            intermediate_size=144,
            num_hidden_layers=3,
        ),
    ),
    # Softcaps strong enough to matter, a query scale that is not the head's, a theta that is
    # not 10000. The window (56) is longer than the prompt (50) and decoding crosses it; the
    # prompt with two images (88) is longer than the window.
    "pg2_gqa": dict(
        seed=140,
        family=2,
        layout="v5",
        shards=3,
        dtype="bf16",
        vision=dict(
            hidden_size=60,
            num_attention_heads=5,
            intermediate_size=132,
            num_hidden_layers=2,
            image_size=84,
        ),
        text=dict(
            hidden_size=96,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=20,
            intermediate_size=200,
            num_hidden_layers=4,
            sliding_window=56,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=12.0,
            query_pre_attn_scalar=32,
            rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        ),
    ),
    # Sizes that are no multiples of 4, a window far shorter than any prompt; softcaps and
    # query scale are the defaults and left out of config.json.
    "pg2_odd": dict(
        seed=21,
        family=2,
        layout="hub",
        shards=2,
        dtype="f32",
        vision=dict(
            hidden_size=42,
            num_attention_heads=3,
            intermediate_size=62,
            num_hidden_layers=2,
            image_size=70,
        ),
        text=dict(
            hidden_size=54,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=22,
            intermediate_size=90,
            num_hidden_layers=3,
            sliding_window=9,
        ),
    ),
    # Every linear layer of the language model has a multiple of 128 inputs: what quantization
    # in groups of 128 asks for.
    "pg2_q128": dict(
        seed=27,
        family=2,
        layout="hub",
        shards=1,
        dtype="bf16",
        vision=dict(
            hidden_size=128,
            num_attention_heads=4,
            intermediate_size=256,
            num_hidden_layers=2,
            image_size=56,
        ),
        text=dict(
            hidden_size=128,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            intermediate_size=256,
            num_hidden_layers=4,
            query_pre_attn_scalar=64,
            attn_logit_softcapping=50.0,
            final_logit_softcapping=30.0,
        ),
    ),
}

VISION = dict(model_type="siglip_vision_model", patch_size=14, vision_use_head=False)
TEXT = {1: dict(model_type="gemma"), 2: dict(model_type="gemma2")}


def preset(name: str) -> dict:
    """The preset with what all of a family have in common."""
    return complete(PRESETS[name])


def complete(chosen: dict) -> dict:
    """A preset with what all of its family have in common."""
    chosen = copy.deepcopy(chosen)
    chosen["vision"] = {**VISION, **chosen["vision"]}
    chosen["text"] = {**TEXT[chosen["family"]], **chosen["text"]}
    return chosen


def image_tokens(chosen: dict) -> int:
    vision = chosen["vision"]
    return (vision["image_size"] // vision["patch_size"]) ** 2
