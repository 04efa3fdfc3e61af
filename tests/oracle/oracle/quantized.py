"""`tests/fixtures/quant`: what transformers computes when its weights were quantized.

The linear layers of the language model are quantized and dequantized again, and the model
runs in f32: what a kernel computes that only stores its weights in fewer bits.

int4, per row and group of 128 inputs (the format of torch's tinygemm kernels):

    scale = max((max - min) / 15, 1e-6)      zero = min + 8 * scale
    code  = clamp(round_half_even((w - min) / scale), 0, 15)
    w'    = (code - 8) * scale + zero

int8, per row: scale = absmax / 127, w' = round_half_even(w / scale) * scale.
"""

import pathlib

import torch
from safetensors.torch import load_file, save_file

from .running import INPUTS, NEW_TOKENS, load

GROUP = 128
PRESET = "pg2_q128"
SHOWN = ("layers.0.self_attn.q_proj.weight", "layers.1.mlp.down_proj.weight")


def _int4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes [rows, inputs], one a byte; scales and zeros [rows, groups]."""
    rows, inputs = weight.shape
    groups = weight.reshape(rows, inputs // GROUP, GROUP)
    low, high = groups.amin(-1), groups.amax(-1)
    scale = ((high - low) / 15).clamp_min(1e-6)
    zero = low + scale * 8
    base = (zero - scale * 8)[..., None]
    codes = torch.round((groups - base) / scale[..., None]).clamp(0, 15)
    return codes.reshape(rows, inputs).to(torch.uint8), scale, zero


def _int4_dequantized(codes, scale, zero) -> torch.Tensor:
    groups = codes.reshape(*scale.shape, GROUP).float() - 8
    return (groups * scale[..., None] + zero[..., None]).reshape(codes.shape)


def _int8_round_trip(weight: torch.Tensor) -> torch.Tensor:
    scale = (weight.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-12)
    return (weight / scale).round().clamp(-127, 127) * scale


def _answers(model, single: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits after the prompt, with the answer of `single` given; greedy ids."""
    inputs = {key: single[key] for key in INPUTS}
    answer = single["generated_ids"]
    ids = torch.cat([inputs["input_ids"], answer], 1)
    types = torch.cat([inputs["token_type_ids"], torch.ones_like(answer)], 1)
    logits = model(
        input_ids=ids,
        token_type_ids=types,
        attention_mask=torch.ones_like(ids),
        pixel_values=inputs["pixel_values"],
    ).logits
    prompt = inputs["input_ids"].shape[1]
    generated = model.generate(
        **inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False
    )
    return logits[:, prompt - 1], generated[:, prompt:]


def build(fixture: pathlib.Path, out: pathlib.Path) -> None:
    """Fills `out` from the fixture of `PRESET`."""
    single = load_file(fixture / "expected" / "single.safetensors")
    tensors = {}

    def quantized(scheme):
        model = load(fixture / "model")
        for name, parameter in model.named_parameters():
            if ".language_model.layers." in name and name.endswith("proj.weight"):
                parameter.data = scheme(name, parameter.data)
        return _answers(model, single)

    def int4(name, weight):
        parts = _int4(weight)
        if name.endswith(SHOWN):
            stem = "language_model.model." + name.split("language_model.")[1]
            for part, tensor in zip(("codes", "scale", "zero"), parts, strict=True):
                tensors[stem.removesuffix("weight") + part] = tensor
        return _int4_dequantized(*parts)

    schemes = {"int4_g128": int4, "int8_row": lambda _name, weight: _int8_round_trip(weight)}
    for label, scheme in schemes.items():
        logits, ids = quantized(scheme)
        tensors[f"{label}.logits_last_prompt"] = logits
        tensors[f"{label}.generated_ids"] = ids
    out.mkdir(parents=True)
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, out / f"{PRESET}.safetensors")
