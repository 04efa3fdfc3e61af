"""`tests/fixtures/attention_mask`: the attention masks that transformers builds for a prompt with an answer.

Taken where the decoder receives them, 1 where a token attends, with the token types that the
processor returns. Sliding layers are those of a model with a window of its own.
"""

import pathlib

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from .checkpoint import dump
from .running import load

# PaliGemma has no sliding layers; the window of pg2_odd is shorter than the answer.
MODELS = ("pg1_mqa", "pg2_odd")
CASES = {
    "question": ("<image>What is in this image?", "nothing but a very long answer", 1),
    "space": ("<image> What is in this image?", "", 1),
    "two": ("<image><image>answer en\nwhich?", "the left one", 2),
}


def _masks(model, inputs: dict) -> dict:
    kept = {}

    def keep(_module, _arguments, named):
        masks = named["attention_mask"]
        masks = masks if isinstance(masks, dict) else {"full_attention": masks}
        for kind, mask in masks.items():
            if mask is not None:
                allowed = mask if mask.dtype == torch.bool else mask == 0
                kept[kind] = allowed[0, 0].to(torch.uint8)

    hook = model.model.language_model.register_forward_pre_hook(keep, with_kwargs=True)
    model(**inputs)
    hook.remove()
    return kept


def build(fixtures: pathlib.Path, out: pathlib.Path) -> None:
    """Fills `out` from the fixtures of `MODELS`."""
    out.mkdir(parents=True)
    for name in MODELS:
        folder = fixtures / name
        processor = AutoProcessor.from_pretrained(folder / "model")
        processor.image_processor = SiglipImageProcessorPil.from_pretrained(folder / "model")
        model = load(folder / "model")
        pictures = [Image.open(file) for file in sorted((folder / "images").iterdir())]
        tensors, cases = {}, {}
        for case, (prompt, suffix, count) in CASES.items():
            inputs = processor(
                text=prompt, images=[pictures[:count]], suffix=suffix, return_tensors="pt"
            )
            for kind, mask in _masks(model, dict(inputs)).items():
                tensors[f"{case}.{kind}"] = mask
            ids = inputs["input_ids"][0]
            cases[case] = {
                "prompt": prompt,
                "suffix": suffix,
                "tokens": processor.tokenizer.convert_ids_to_tokens(ids),
                "prefix": int((inputs["token_type_ids"][0] == 0).sum()),
            }
        tensors = {key: tensor.contiguous().clone() for key, tensor in tensors.items()}
        save_file(tensors, out / f"{name}.safetensors")
        text = model.config.text_config
        window = text.sliding_window if hasattr(text, "sliding_window") else None
        dump(out / f"{name}.json", {"window": window, "cases": cases}, indent=1)
