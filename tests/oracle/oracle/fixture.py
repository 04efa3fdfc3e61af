"""One folder of `tests/fixtures`: a checkpoint and what transformers does with it."""

import hashlib
import pathlib
import platform

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer

from . import checkpoint, passes, sensitivity, synthetic, tokenizer
from .cases import Subject, all_cases
from .presets import preset as preset_named
from .running import NEW_TOKENS

# Height and width.
IMAGES = {"image_a.png": (61, 97), "image_b.png": (90, 64), "image_c.png": (120, 120)}

TEXTS = [
    "",
    " ",
    "caption en",
    " leading space",
    "trailing ",
    "two  spaces   three",
    "line\nbreak\n\n\nthree",
    "tab\there",
    "naïve café",
    "日本語と猫 🦀👩‍👩‍👧",
    "Ünïcödé Straße",
    "\u2581literal\u2581",
    "<loc0000><loc1023><seg127><seg128>",
    "<image>x<bos>y<eos>",
    "a<b>c</b><table>",
    "<unused5><start_of_turn>",
    "1234567890 3.14",
    "don't “quote” — dash",
    "\x00\x7f\u200b",
    "x" * 70,
    "<LOC0001> <loc1>",
    "\r\n",
    " " * 33,
    "detect cat ; dog\n",
    "e\u0301 é",
    "<0x41>",
]


def _tokenizer_cases(subject: Subject) -> dict:
    ours = subject.processor.tokenizer
    cases = []
    for text in TEXTS:
        ids = ours(text, add_special_tokens=False)["input_ids"]
        cases.append(
            {
                "text": text,
                "ids": ids,
                "ids_default_call": ours(text)["input_ids"],
                "decoded": ours.decode(ids),
                "decoded_skip_special": ours.decode(ids, skip_special_tokens=True),
            }
        )
    alone = Tokenizer.from_file(str(subject.checkpoint / "tokenizer.json"))
    same = all(
        alone.encode(case["text"], add_special_tokens=False).ids == case["ids"]
        for case in cases
    )
    return {
        "cases": cases,
        "tokenizer_json_alone_gives_same_ids": same,
        "class": type(ours).__name__,
    }


def _sha256(weights: dict) -> str:
    """Of names and little-endian values, in the order of the names."""
    digest = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        digest.update(name.encode() + weight.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _recipe(name: str, preset: dict) -> dict:
    return {
        "seed": preset["seed"],
        "preset": name,
        "overrides": [],
        "dtype": preset["dtype"],
        "zero_rows_from": {checkpoint.EMBEDDING: tokenizer.IMAGE_ID},
        "tensors": [list(entry) for entry in checkpoint.recipe(preset)],
    }


def _summary(name: str, preset: dict, weights: dict, subject: Subject, entries: dict) -> dict:
    return {
        "preset": name,
        "seed": preset["seed"],
        "overrides": [],
        "family": preset["family"],
        "layout": preset["layout"],
        "dtype": preset["dtype"],
        "parameters": sum(weight.numel() for weight in weights.values()),
        "weights_sha256": _sha256(weights),
        "image_token_id": tokenizer.IMAGE_ID,
        "tokens": tokenizer.TOKENS,
        "vocab_size": checkpoint.VOCAB_SIZE,
        "image_seq_length": subject.processor.image_seq_length,
        "new_tokens": NEW_TOKENS,
        "expected_from": "weights upcast to f32, eager attention, CPU",
        "versions": {
            "transformers": transformers.__version__,
            "torch": torch.__version__,
            "pillow": Image.__version__,
            "python": platform.python_version(),
        },
        "load_warnings": subject.load_warnings,
        "processor_warnings": subject.processor_warnings,
        "default_image_processor": type(subject.torchvision).__name__,
        "cases": entries,
    }


def build(name: str, out: pathlib.Path, made: pathlib.Path | None = None) -> None:
    """Fills `out`, a folder that is not there yet. `made`: see `checkpoint.write`."""
    preset = preset_named(name)
    (out / "images").mkdir(parents=True)
    (out / "expected").mkdir()
    weights = checkpoint.write(preset, out / "model", made)
    checkpoint.dump(out / "recipe.json", _recipe(name, preset), indent=None)
    for file, (height, width) in IMAGES.items():
        levels = synthetic.picture(preset["seed"], file, height, width)
        Image.fromarray(levels).save(out / "images" / file, optimize=True)

    subject = Subject(out, preset)
    cases = all_cases(subject)
    for case, made_case in cases.items():
        if made_case.tensors is not None:
            tensors = {k: v.contiguous().clone() for k, v in made_case.tensors.items()}
            save_file(tensors, out / "expected" / f"{case}.safetensors")
    checkpoint.dump(out / "tokenizer_cases.json", _tokenizer_cases(subject), indent=1)
    entries = {case: made_case.entry for case, made_case in cases.items()}
    summary = _summary(name, preset, weights, subject, entries)
    checkpoint.dump(out / "cases.json", summary, indent=1)
    sensitivity.write(out, preset["family"])
    if name in passes.PRESETS:
        passes.write(subject, out)
