"""The requests of a fixture, and what transformers answers to each.

A case is a function from a `Subject` to its tensors (`expected/<case>.safetensors`) and its
entry in `cases.json`.
"""

import dataclasses
import math
import pathlib

import torch
from PIL import Image
from transformers import AutoProcessor
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from .running import (
    NEW_TOKENS,
    captured,
    generate,
    generate_uncached,
    inputs_of,
    largest,
    load,
    recorded_forward,
    top_gaps,
)

# How far the largest logit has to lead at every step of `single`, and of the other cases.
# transformers in f32 is within 5e-5 of f64 here: no honest rounding decides a token.
GAP, GAP_ELSEWHERE = 0.02, 0.004


class Subject:
    """A checkpoint with its processor, its model and its pictures."""

    def __init__(self, folder: pathlib.Path, preset: dict):
        self.preset = preset
        self.checkpoint = folder / "model"
        self.images = {
            file.name: Image.open(file) for file in sorted((folder / "images").iterdir())
        }
        self.load_warnings, self.processor_warnings = [], []
        with captured(self.load_warnings):
            self.processor = AutoProcessor.from_pretrained(self.checkpoint)
            pil = SiglipImageProcessorPil.from_pretrained(self.checkpoint)
            self.model = load(self.checkpoint)
        # Pixel values are Pillow's: torchvision's, the default, differ by a rounding step.
        self.torchvision = self.processor.image_processor
        self.processor.image_processor = pil

    def prepare(self, text, images, **options) -> dict:
        lines = []
        with captured(lines):
            prepared = self.processor(text=text, images=images, return_tensors="pt", **options)
        for line in lines:
            if line not in self.processor_warnings:
                self.processor_warnings.append(line)
        return dict(prepared)

    def text_of(self, ids: torch.Tensor) -> str:
        return self.processor.tokenizer.decode(ids, skip_special_tokens=True)


@dataclasses.dataclass
class Case:
    entry: dict
    tensors: dict | None = None


SEED = "choose another seed for this preset in oracle/presets.py"


def fair(name: str, steps: torch.Tensor, gap: float) -> None:
    """Stops where equal ids would be too much to ask of another implementation."""
    lead = top_gaps(steps).min().item()
    if lead < gap:
        raise SystemExit(f"{name}: two logits are {lead:.4f} apart, less than {gap}: {SEED}")


def _drift(subject: Subject, inputs: dict, logits, ids) -> dict:
    """How far other arithmetic moves the logits of the same weights."""
    drift = {}

    def against(model, inputs):
        moved = model(**inputs).logits.float()
        difference = moved - logits
        agree = moved.argmax(-1) == logits.argmax(-1)
        return {
            "max_abs": largest(difference),
            "rms": difference.pow(2).mean().sqrt().item(),
            "argmax_agreement": agree.float().mean().item(),
        }

    def pixels_as(dtype):
        return {**inputs, "pixel_values": inputs["pixel_values"].to(dtype)}

    for name, dtype in (("bf16", torch.bfloat16), ("f16", torch.float16)):
        model = load(subject.checkpoint, dtype)
        drift[name] = against(model, pixels_as(dtype))
        other, _ = generate(model, pixels_as(dtype))
        same = (other[0, : ids.shape[1]] == ids[0, : other.shape[1]]).int()
        drift[name]["greedy_prefix_equal"] = int(same.cumprod(0).sum())
    if subject.preset["dtype"] == "f32":
        model = load(subject.checkpoint)
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().float()
        drift["bf16_weights_f32_math"] = against(model, inputs)
    model = load(subject.checkpoint, torch.float64)
    moved = model(**pixels_as(torch.float64)).logits.float()
    drift["f64"] = {"max_abs": largest(moved - logits)}
    # Gemma 2 has no such attention: softcapping is between its two products.
    if subject.preset["family"] == 1:
        moved = load(subject.checkpoint, attention="sdpa")(**inputs).logits
        drift["sdpa_vs_eager_f32"] = {"max_abs": largest(moved - logits)}
    return drift


def _uncached_checks(model, inputs, ids, steps) -> dict:
    other_ids, other_steps = generate_uncached(model, inputs, ids.shape[1])
    return {
        "check_cached_equals_uncached_ids": torch.equal(ids, other_ids),
        "check_cached_vs_uncached_max_abs": largest(steps - other_steps),
    }


def single(subject: Subject) -> Case:
    """One picture; every tensor on the way."""
    text, image = "answer en what is the color of the car?", subject.images["image_a.png"]
    model = subject.model
    prepared = subject.prepare(text, image)
    inputs = inputs_of(prepared)
    other_pixels = subject.torchvision(images=image, return_tensors="pt")["pixel_values"]
    out, kept = recorded_forward(model, inputs)
    ids, steps = generate(model, inputs)
    fair("single", steps, GAP)
    distinct = len(set(ids[0].tolist()))
    if ids.shape[1] < NEW_TOKENS or distinct < NEW_TOKENS // 3:
        raise SystemExit(f"single: the answer stops early or repeats itself: {SEED}")
    uncached = _uncached_checks(model, inputs, ids, steps)
    without_cache, _ = generate(model, inputs, use_cache=False)
    layers = subject.preset["text"]["num_hidden_layers"]
    entropies = [-(a.clamp_min(1e-30).log() * a).sum(-1).mean() for a in out.attentions]
    prompt_tokens = inputs["input_ids"].shape[1]
    entry = {
        "text": text,
        "images": ["image_a.png"],
        "prompt_tokens": prompt_tokens,
        "generated_text": subject.text_of(ids[0]),
        "distinct_generated": distinct,
        "n_generated": ids.shape[1],
        "min_top2_gap": top_gaps(steps).min().item(),
        "prefill_min_top2_gap": top_gaps(out.logits).min().item(),
        "logit_std": out.logits.std().item(),
        "logit_absmax": largest(out.logits),
        "layer_out_rms": [
            round(kept[f"text.layer_out.{i}"].pow(2).mean().sqrt().item(), 3)
            for i in range(layers)
        ],
        "image_features_rms": kept["image_features"].pow(2).mean().sqrt().item(),
        "attn_entropy_per_layer": [round(entropy.item(), 3) for entropy in entropies],
        "log_seq": math.log(prompt_tokens),
        "check_prefill_logits_forward_vs_generate": largest(out.logits[:, -1] - steps[:, 0]),
        "check_cached_equals_uncached_ids": uncached["check_cached_equals_uncached_ids"],
        "check_generate_use_cache_false_ids": torch.equal(ids, without_cache),
        "check_cached_vs_uncached_max_abs": uncached["check_cached_vs_uncached_max_abs"],
        "drift": _drift(subject, inputs, out.logits, ids),
        "pixel_values_torchvision_vs_pil_max_abs": largest(
            other_pixels - inputs["pixel_values"]
        ),
        "processor_returns": sorted(prepared),
    }
    answers = {"logits": out.logits, "generated_ids": ids, "step_logits": steps}
    return Case(entry, {**inputs, **kept, **answers})


def eos(subject: Subject, answer: list[int]) -> Case:
    """The request of `single`, with a stop token that its answer is known to have."""
    text, image = "answer en what is the color of the car?", "image_a.png"
    # From the seventh on, the first that is new.
    firsts = (i for i in range(6, len(answer)) if answer.index(answer[i]) == i)
    place = next(firsts, len(answer) - 1)
    stops = [1, answer[place]]
    inputs = inputs_of(subject.prepare(text, subject.images[image]))
    ids, _ = generate(subject.model, inputs, eos_token_id=stops)
    assert ids.shape[1] == answer.index(answer[place]) + 1
    return Case(
        {
            "text": text,
            "images": [image],
            "eos_token_id": stops,
            "expected_length": ids.shape[1],
            "note": "generation stops right after the eos token, which is part of the output",
        }
    )


def _answered(subject: Subject, name: str, text: str, images: list, prepared: dict) -> Case:
    model, inputs = subject.model, inputs_of(prepared)
    logits = model(**inputs).logits
    ids, steps = generate(model, inputs)
    fair(name, steps, GAP_ELSEWHERE)
    entry = {"text": text, "images": images, "generated_text": subject.text_of(ids[0])}
    if name == "multi":
        entry["prompt_tokens"] = inputs["input_ids"].shape[1]
    entry["min_top2_gap"] = top_gaps(steps).min().item()
    entry.update(_uncached_checks(model, inputs, ids, steps))
    return Case(entry, {**inputs, "logits_last": logits[:, -1], "generated_ids": ids})


def special(subject: Subject) -> Case:
    """<image> spelled out, special tokens, a blank line, two spaces."""
    text = "<image>segment <loc0123><loc1023> cat ; <seg007> dog\n\nocr  x"
    prepared = subject.prepare(text, subject.images["image_b.png"])
    return _answered(subject, "special", text, ["image_b.png"], prepared)


def multi(subject: Subject) -> Case:
    """Two pictures in one prompt, and a character that only bytes can spell."""
    text, images = "<image><image>answer en où est le chien? 🦀", ["image_a.png", "image_c.png"]
    prepared = subject.prepare(text, [[subject.images[image] for image in images]])
    return _answered(subject, "multi", text, [images], prepared)


def suffix(subject: Subject) -> Case:
    """An answer given: labels and loss."""
    text, answer = "caption en", "A cow is standing on the beach"
    prepared = subject.prepare(text, subject.images["image_b.png"], suffix=answer)
    inputs, labels = inputs_of(prepared), prepared["labels"]
    out = subject.model(**inputs, labels=labels)
    positions = (labels[0] != -100).nonzero().flatten()
    predicting = out.logits[0, positions - 1]
    nll = torch.nn.functional.cross_entropy(predicting, labels[0, positions], reduction="none")
    assert abs(out.loss.item() - nll.mean().item()) < 1e-4
    tensors = {
        **inputs,
        "labels": labels,
        "loss": out.loss.reshape(1),
        "suffix_positions": positions,
        "suffix_nll": nll,
        "suffix_logits": predicting,
    }
    entry = {
        "text": text,
        "suffix": answer,
        "images": ["image_b.png"],
        "loss": out.loss.item(),
        "check_mean_nll": nll.mean().item(),
    }
    return Case(entry, tensors)


def batch2(subject: Subject) -> Case:
    """Two requests at once, the shorter padded on the left."""
    texts = ["caption en", "answer en where is the cow standing next to the river?"]
    images = ["image_a.png", "image_b.png"]
    model = subject.model
    pictures = [[subject.images[image]] for image in images]
    inputs = inputs_of(subject.prepare(texts, pictures, padding="longest"))
    logits = model(**inputs).logits
    ids, steps = generate(model, inputs)
    fair("batch2", steps, GAP_ELSEWHERE)
    equal, apart = [], []
    for i, (text, image) in enumerate(zip(texts, images, strict=True)):
        alone = inputs_of(subject.prepare(text, subject.images[image]))
        alone_ids, alone_steps = generate(model, alone)
        count = min(ids.shape[1], alone_ids.shape[1])
        equal.append(torch.equal(ids[i, :count], alone_ids[0, :count]))
        apart.append(largest(steps[i, :count] - alone_steps[0, :count]))
    entry = {
        "text": texts,
        "images": [[image] for image in images],
        "padding": "longest",
        "padding_side": subject.processor.tokenizer.padding_side,
        "generated_text": [subject.text_of(row) for row in ids],
        "min_top2_gap": top_gaps(steps).min().item(),
        "check_batch_equals_solo_ids": equal,
        "check_batch_vs_solo_max_abs": max(apart),
        "check_forward_vs_generate_first_logits_max_abs": largest(logits[:, -1] - steps[:, 0]),
    }
    answers = {"logits_last": logits[:, -1], "step_logits_first": steps[:, 0]}
    return Case(entry, {**inputs, **answers, "generated_ids": ids})


def all_cases(subject: Subject) -> dict[str, Case]:
    first = single(subject)
    return {
        "single": first,
        "eos": eos(subject, first.tensors["generated_ids"][0].tolist()),
        "special": special(subject),
        "multi": multi(subject),
        "suffix": suffix(subject),
        "batch2": batch2(subject),
    }
