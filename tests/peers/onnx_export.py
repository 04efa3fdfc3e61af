#!/usr/bin/env python
"""Exports a checkpoint to ONNX in the form that Transformers.js loads.

    onnx_export.py MODEL OUT [--q4]

MODEL is a folder that transformers reads. OUT gets its small files and onnx/: the three graphs
that Transformers.js' PaliGemmaForConditionalGeneration asks for,

    embed_tokens          input_ids -> inputs_embeds (scaled)
    vision_encoder        pixel_values -> image_features (projected)
    decoder_model_merged  inputs_embeds, position_ids, past_key_values.* -> logits, present.*

in f32, the decoder's norms fused into onnxruntime's own operators by onnxscript, and with --q4
the same again with every matrix of decoder and vision tower in blocks of 32 four-bit weights
(MatMulNBits), as such models are published for browsers.

The decoder has no attention mask. For one request without padding nothing is masked: image and
prompt attend to each other in both directions, and what is generated attends to all before it.
The sliding windows of PaliGemma 2 are left out too, and must be longer than the answer's last
position. Logits are those of the last position. Both spare the peer work that the answer does
not need.
"""

import argparse
import json
import logging
import pathlib
import shutil

import onnx
import onnx_ir
import torch
from onnxscript.optimizer import optimize
from onnxscript.rewriter.ort_fusions.rms_normalization import fuse_rms_normalization
from onnxscript.rewriter.ort_fusions.skip_normalization import fuse_skip_rms_normalization
from torch.export import Dim
from transformers import DynamicCache, PaliGemmaForConditionalGeneration

SMALL = "config.json generation_config.json preprocessor_config.json special_tokens_map.json"
SMALL += " tokenizer_config.json"


class Embedding(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.table = model.get_input_embeddings()

    def forward(self, input_ids):
        return self.table(input_ids)


class Vision(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.tower = model.model.vision_tower
        self.projector = model.model.multi_modal_projector

    def forward(self, pixel_values):
        return self.projector(self.tower(pixel_values).last_hidden_state)


class Decoder(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.text = model.model.language_model
        self.head = model.lm_head
        self.softcap = getattr(self.text.config, "final_logit_softcapping", None)
        self.layers = self.text.config.num_hidden_layers

    def forward(self, inputs_embeds, position_ids, past):
        cache = DynamicCache()
        for i in range(self.layers):
            cache.update(past[2 * i], past[2 * i + 1], i)
        rotary = self.text.rotary_emb(inputs_embeds, position_ids)
        hidden = inputs_embeds
        for layer in self.text.layers:
            hidden = layer(
                hidden,
                attention_mask=None,
                position_embeddings=rotary,
                position_ids=position_ids,
                past_key_values=cache,
            )
        logits = self.head(self.text.norm(hidden[:, -1:]))
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        present = [part for layer in cache.layers for part in (layer.keys, layer.values)]
        return (logits, *present)


def _export(module, inputs, dynamic, inputs_named, outputs_named, file: pathlib.Path) -> None:
    program = torch.onnx.export(
        module.eval(),
        inputs,
        dynamo=True,
        dynamic_shapes=dynamic,
        input_names=inputs_named,
        output_names=outputs_named,
        optimize=True,
        verbose=False,
    )
    graph = program.model
    # Not all of onnxscript's fusions for onnxruntime: the vision tower's attention, fused by
    # them, gives other results on WebGPU (onnxruntime-web 1.31, SwiftShader).
    fuse_rms_normalization(graph)
    fuse_skip_rms_normalization(graph)
    optimize(graph)
    onnx_ir.save(graph, file)


def export(model, folder: pathlib.Path) -> None:
    text, vision = model.config.text_config, model.config.vision_config
    hidden, side = text.hidden_size, vision.image_size
    folder.mkdir(parents=True)
    ids = torch.full((1, 7), 5)
    new, past = Dim("new", min=1, max=4096), Dim("past", min=0, max=8192)
    _export(
        Embedding(model),
        (ids,),
        ({1: new},),
        ["input_ids"],
        ["inputs_embeds"],
        folder / "embed_tokens.onnx",
    )
    _export(
        Vision(model),
        (torch.zeros(1, 3, side, side),),
        None,
        ["pixel_values"],
        ["image_features"],
        folder / "vision_encoder.onnx",
    )
    layers = range(text.num_hidden_layers)
    parts = [f"{i}.{part}" for i in layers for part in ("key", "value")]
    shape = (1, text.num_key_value_heads, 3, text.head_dim)
    kept = [torch.zeros(shape) for _ in parts]
    _export(
        Decoder(model),
        (torch.zeros(1, 7, hidden), torch.arange(7)[None] + 4, kept),
        ({1: new}, {1: new}, [{2: past} for _ in parts]),
        ["inputs_embeds", "position_ids", *(f"past_key_values.{part}" for part in parts)],
        ["logits", *(f"present.{part}" for part in parts)],
        folder / "decoder_model_merged.onnx",
    )


def quantize(folder: pathlib.Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    for name in ("vision_encoder", "decoder_model_merged"):
        how = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, accuracy_level=4)
        made = MatMulNBitsQuantizer(onnx.load(folder / f"{name}.onnx"), algo_config=how)
        made.process()
        onnx.save(made.model.model, folder / f"{name}_q4.onnx")
    shutil.copy(folder / "embed_tokens.onnx", folder / "embed_tokens_q4.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--q4", action="store_true")
    chosen = parser.parse_args()
    logging.disable(logging.INFO)
    model = PaliGemmaForConditionalGeneration.from_pretrained(
        chosen.model, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        export(model, chosen.out / "onnx")
    if chosen.q4:
        quantize(chosen.out / "onnx")
    for name in SMALL.split():
        if (chosen.model / name).is_file():
            shutil.copy(chosen.model / name, chosen.out)
    # PaliGemmaProcessor writes <bos> after the image; Transformers.js does not keep the
    # tokenizer from writing another one before it.
    tokenizer = json.loads((chosen.model / "tokenizer.json").read_text("utf-8"))
    tokenizer["post_processor"] = None
    text = json.dumps(tokenizer, ensure_ascii=False)
    (chosen.out / "tokenizer.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
