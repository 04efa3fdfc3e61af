#!/usr/bin/env python
"""What transformers answers in f32, and whether an ONNX export answers the same.

    reference.py MODEL PICTURE OUT --prompt TEXT --tokens N [--onnx FOLDER]

OUT gets inputs.safetensors (pixel_values, input_ids, as transformers' processor makes them)
and reference.json: `ids`, the greedy answer; `gap`, how far the best logit was ahead of the
second at the narrowest step; with --onnx also `onnx_ids`, what onnxruntime makes of the graphs
in FOLDER, and `onnx_apart`, by how much its logits differ at most. Exits with 1 if an export
answers otherwise.
"""

import argparse
import json
import pathlib
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, PaliGemmaForConditionalGeneration


def _transformers(model, inputs, tokens: int):
    with torch.inference_mode():
        made = model.generate(
            **inputs.to(model.device),
            max_new_tokens=tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    ids = made.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    return ids, torch.stack(made.logits)[:, 0].cpu()


def _onnx(folder: pathlib.Path, model, inputs, ids: list[int]) -> np.ndarray:
    """Logits of every step, fed with `ids`, so that one difference does not make others."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()

    def session(name):
        file = folder / "onnx" / f"{name}.onnx"
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    asked = inputs["input_ids"].numpy()
    embed = session("embed_tokens")
    embeds = embed.run(None, {"input_ids": asked})[0].copy()
    features = session("vision_encoder").run(
        None, {"pixel_values": inputs["pixel_values"].numpy()}
    )
    embeds[asked == model.config.image_token_id] = features[0][0]
    decoder = session("decoder_model_merged")
    names = [entry.name for entry in decoder.get_inputs()][2:]
    text = model.config.text_config
    past = np.zeros((1, text.num_key_value_heads, 0, text.head_dim), np.float32)
    kept, position, steps = dict.fromkeys(names, past), 1, []
    for token in ids:
        positions = np.arange(position, position + embeds.shape[1])[None]
        position += embeds.shape[1]
        feed = {"inputs_embeds": embeds, "position_ids": positions, **kept}
        logits, *present = decoder.run(None, feed)
        steps.append(logits[0, -1])
        kept = dict(zip(names, present, strict=True))
        embeds = embed.run(None, {"input_ids": np.array([[token]])})[0]
    return np.stack(steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--onnx", type=pathlib.Path)
    chosen = parser.parse_args()
    processor = AutoProcessor.from_pretrained(chosen.model)
    picture = Image.open(chosen.picture).convert("RGB")
    inputs = processor(images=picture, text="<image>" + chosen.prompt, return_tensors="pt")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = PaliGemmaForConditionalGeneration.from_pretrained(
        chosen.model, dtype=torch.float32, attn_implementation="eager"
    )
    model = model.eval().to(device)
    ids, logits = _transformers(model, inputs, chosen.tokens)
    best = logits.topk(2).values
    found = {"ids": ids, "gap": (best[:, 0] - best[:, 1]).min().item()}
    inputs = inputs.to("cpu")
    if chosen.onnx:
        steps = _onnx(chosen.onnx, model, inputs, ids)
        found["onnx_ids"] = steps.argmax(-1).tolist()
        found["onnx_apart"] = float(np.abs(steps - logits.numpy()).max())
    save_file(
        {name: inputs[name].contiguous() for name in ("pixel_values", "input_ids")},
        chosen.out / "inputs.safetensors",
    )
    (chosen.out / "reference.json").write_text(json.dumps(found) + "\n")
    print(json.dumps(found))
    return 1 if found.get("onnx_ids", ids) != ids else 0


if __name__ == "__main__":
    sys.exit(main())
