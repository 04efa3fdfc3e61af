#!/usr/bin/env python
"""Compares a forward pass of ours with one of transformers, on the same checkpoint and inputs.

    full_width.py MODEL OURS.safetensors

OURS is what `paligemma forward --model MODEL --out OURS.safetensors ...` wrote. transformers
runs in float32, with eager attention, on the same ids and pixel values. Prints one line for
each tensor that both have: how far apart they are at most, against the largest magnitude. Exits
with 0 if every tensor is within TOLERANCE and the last position's best token is the same, 1 if
not.

It is for made-up checkpoints of the published widths with a few layers, which fit into memory
in float32: `cargo run -p paligemma-tests --example full_size -- write --layers 2 ...`.
"""

import argparse
import pathlib
import resource
import sys

import torch
from safetensors.torch import load_file
from transformers import PaliGemmaForConditionalGeneration

# Of a tensor's largest magnitude. A sum of n products in f32 is off by about sqrt(n) * 2^-24 of
# its size, whatever the order: the 36 864 terms of the widest matrix make 1.1e-5, and either side
# may be off by that; norms keep that share.
TOLERANCE = 2.2e-5


def _theirs(model, inputs) -> dict[str, torch.Tensor]:
    found = {}

    def keep(name):
        def hook(_module, _inputs, output):
            found[name] = output[0] if isinstance(output, tuple) else output

        return hook

    vision = model.model.vision_tower
    vision = getattr(vision, "vision_model", vision)
    text = model.model.language_model
    vision.embeddings.register_forward_hook(keep("vision.embeddings"))
    for i, layer in enumerate(vision.encoder.layers):
        layer.register_forward_hook(keep(f"vision.layer_out.{i}"))
    vision.post_layernorm.register_forward_hook(keep("vision.last_hidden_state"))
    model.model.multi_modal_projector.register_forward_hook(keep("image_features"))
    for i, layer in enumerate(text.layers):
        layer.register_forward_hook(keep(f"text.layer_out.{i}"))
    text.norm.register_forward_hook(keep("text.final_norm"))
    with torch.inference_mode():
        found["logits"] = model(**inputs).logits
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("ours", type=pathlib.Path)
    chosen = parser.parse_args()
    ours = load_file(chosen.ours)
    model = PaliGemmaForConditionalGeneration.from_pretrained(
        chosen.model, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = ours["input_ids"]
    inputs = {
        "input_ids": ids,
        "token_type_ids": ours["token_type_ids"],
        "attention_mask": torch.ones_like(ids),
        "pixel_values": ours["pixel_values"],
    }
    wrong = 0
    theirs = _theirs(model, inputs)
    for name, expected in theirs.items():
        if name not in ours:
            print(f"{name}: not among ours")
            continue
        found = ours[name]
        if found.numel() != expected.numel():
            # Logits of the last position alone.
            expected = expected[:, -1:]
        found = found.reshape(expected.shape)
        apart = (found - expected).abs().max().item()
        relative = apart / expected.abs().max().item()
        deviation = expected.std().item()
        good = relative <= TOLERANCE
        wrong += not good
        print(
            f"{name}: {list(expected.shape)} at most {apart:.2e} apart, {relative:.1e} of the "
            f"largest (deviation {deviation:.3g}){'' if good else '  TOO FAR'}"
        )
    rows = [tensors["logits"].flatten(0, -2) for tensors in (ours, theirs)]
    a, b = rows[0][-1], rows[1][-1]
    best = b.topk(2)
    print(
        f"best token: ours {a.argmax().item()}, theirs {best.indices[0].item()}, "
        f"{(best.values[0] - best.values[1]).item():.3f} ahead of the next"
    )
    if rows[0].shape == rows[1].shape:
        same = (rows[0].argmax(-1) == rows[1].argmax(-1)).float().mean().item()
        print(f"best tokens the same at {100 * same:.1f} % of positions")
    wrong += a.argmax().item() != best.indices[0].item()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{'DIFFERS' if wrong else 'agrees'}; {peak:.1f} GB of memory at most")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
