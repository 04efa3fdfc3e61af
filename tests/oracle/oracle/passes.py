"""What transformers' processor and `forward` do beyond a plain prompt: `expected/passes.safetensors`
and `passes.json`.

Two of the fixtures have them, one of each family; the ways through the code are the same in the
others.
"""

import pathlib

import torch
from safetensors.torch import save_file
from transformers import DynamicCache

from .cases import Case, Subject
from .checkpoint import dump
from .running import INPUTS, captured, inputs_of
from .synthetic import normal

PRESETS = ("pg1_mqa", "pg2_odd")
TEXT, IMAGE = "answer en what is the color of the car?", "image_a.png"


def _embeddings(subject: Subject, inputs: dict) -> dict:
    """Vectors in place of ids: those of the ids, the texts' moved a little."""
    model, ids = subject.model, inputs["input_ids"]
    vectors = model.get_input_embeddings()(ids)
    noise = normal(subject.preset["seed"], "inputs_embeds", vectors.shape, 0.0, 1.0)
    is_text = (ids != model.config.image_token_id)[..., None]
    vectors = vectors + 0.25 * vectors.std() * torch.from_numpy(noise) * is_text
    others = {key: value for key, value in inputs.items() if key != "input_ids"}
    logits = model(inputs_embeds=vectors, **others, logits_to_keep=1).logits
    return {"embeds.inputs_embeds": vectors, "embeds.logits": logits}


def _kept(subject: Subject, inputs: dict) -> dict:
    length = inputs["input_ids"].shape[1]
    positions = torch.tensor([length - 1, 0, length // 2])
    logits = subject.model(**inputs, logits_to_keep=positions).logits
    return {"kept.positions": positions[None], "kept.logits": logits}


def _continued(subject: Subject, inputs: dict) -> dict:
    """The prompt, then three tokens, then two, each on top of the cache."""
    model, cache = subject.model, DynamicCache()
    model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
    given = torch.tensor([[700, 5, 1234, 2047, 300]])
    kept = {"continued.ids": given}
    for name, part in (("first", given[:, :3]), ("second", given[:, 3:])):
        out = model(
            input_ids=part,
            token_type_ids=torch.ones_like(part),
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
        )
        kept[f"continued.{name}.logits"] = out.logits
        for i, attention in enumerate(out.attentions):
            kept[f"continued.{name}.attentions.{i}"] = attention.float()
    return kept


def _batch(subject: Subject) -> tuple[dict, dict]:
    """Two training examples of unequal length."""
    texts = ["caption en", "answer en where is the cow standing next to the river?"]
    suffixes = ["A cow is standing on the beach", "beach"]
    images = ["image_a.png", "image_b.png"]
    pictures = [[subject.images[image]] for image in images]
    prepared = subject.prepare(texts, pictures, suffix=suffixes, padding="longest")
    out = subject.model(**inputs_of(prepared), labels=prepared["labels"])
    kept = {f"batch.{key}": prepared[key] for key in (*INPUTS[:3], "labels")}
    kept["batch.loss"] = out.loss.reshape(1)
    entry = {"text": texts, "suffix": suffixes, "images": images, "loss": out.loss.item()}
    return kept, entry


def _nothing_to_learn(subject: Subject, inputs: dict) -> bool:
    labels = torch.full_like(inputs["input_ids"], -100)
    return bool(subject.model(**inputs, labels=labels).loss.isnan())


def passes(subject: Subject) -> Case:
    inputs = inputs_of(subject.prepare(TEXT, subject.images[IMAGE]))
    batch, entry = _batch(subject)
    tensors = {
        "input_ids": inputs["input_ids"],
        **_embeddings(subject, inputs),
        **_kept(subject, inputs),
        **_continued(subject, inputs),
        **batch,
    }
    entry = {
        "text": TEXT,
        "images": [IMAGE],
        "batch": entry,
        "loss_without_targets_is_nan": _nothing_to_learn(subject, inputs),
    }
    return Case(entry, tensors)


# Texts, suffixes, pictures (a list for each text, or one list), and options of the call.
REQUESTS = [
    ("caption en", None, ["a"], {}),
    (["caption en"], ["a cow"], ["a"], {}),
    (["caption en", "ocr"], ["a cow on the beach", "x"], ["a", "b"], {"padding": "longest"}),
    (["caption en", "ocr"], None, [["a", "b"], ["c"]], {"padding": "longest"}),
    (["<image>ocr", "<image><image>which is larger?"], None, ["a", "b", "c"], {"padding": True}),
    (["<image>ocr"], ["x y z"], [["a"]], {"padding": "max_length", "max_length": 90}),
    (["answer en where is the cow?"], ["on the beach"], ["a"], {"truncation": True, "cut": 4}),
    (["ocr"], ["a cow is standing on the beach"], ["a"], {"truncation": True, "cut": 5}),
    (["ocr"], None, ["a"], {"truncation": True, "cut": 9}),
    (["caption en", "ocr"], None, ["a"], {}),
    (["caption en"], None, [["a"], ["b"]], {}),
    (["<image><image>ocr"], None, [["a"]], {}),
    (["<image>ocr", "ocr"], None, [["a"], ["b"]], {"padding": True}),
    ("caption en", None, None, {}),
    (["caption en", "ocr"], None, ["a", "b"], {}),
    ([""], ["<eos>"], ["a"], {}),
]


def processor_cases(subject: Subject) -> list[dict]:
    """Requests, and what the processor returns, says or refuses."""
    named = {name: subject.images[f"image_{name}.png"] for name in "abc"}

    def pictures(names):
        if names is None:
            return None
        return [pictures(name) if isinstance(name, list) else named[name] for name in names]

    cases = []
    for texts, suffixes, images, options in REQUESTS:
        options = dict(options)
        case = {"text": texts, "suffix": suffixes, "images": images}
        cut = options.pop("cut", None)
        if cut is not None:
            whole = subject.processor(text=texts, images=pictures(images), suffix=suffixes)
            options["max_length"] = len(whole["input_ids"][0]) - cut
        lines = []
        try:
            with captured(lines):
                got = subject.processor(
                    text=texts, images=pictures(images), suffix=suffixes, **options
                )
        except Exception as error:  # its words are the fixture
            case["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        else:
            for key in (*INPUTS[:3], "labels"):
                case[key] = [[int(number) for number in row] for row in got[key]]
        cases.append({**case, "options": options, "warnings": lines})
    return cases


def unscaled(subject: Subject) -> dict:
    """Pixel values with steps left out: the first row of each channel."""
    image = subject.images[IMAGE]
    kept = {}
    for name, options in (
        ("do_rescale", {"do_rescale": False}),
        ("do_normalize", {"do_normalize": False}),
        ("neither", {"do_rescale": False, "do_normalize": False}),
    ):
        got = subject.processor(text="", images=image, return_tensors="pt", **options)
        kept[f"pixels.without_{name}"] = got["pixel_values"][:, :, 0].float()
    return kept


def write(subject: Subject, out: pathlib.Path) -> None:
    case = passes(subject)
    tensors = {**case.tensors, **unscaled(subject)}
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, out / "expected" / "passes.safetensors")
    cases = {"passes": case.entry, "processor": processor_cases(subject)}
    dump(out / "passes.json", cases, indent=None)
