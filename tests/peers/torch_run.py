#!/usr/bin/env python
"""transformers answers one question several times and says how long each part took, as JSON.

    torch_run.py MODEL INPUTS --tokens N --answers N [--device cuda] [--dtype bfloat16]
                 [--compiled]

INPUTS is a safetensors file with pixel_values and input_ids. Times of tokens are taken when an
id has reached the CPU. --compiled: generate() with a static cache and a compiled forward. In
5.23 that fails for PaliGemma 2, so the language model is timed alone then, on as many tokens:
there is no vision in its first token's time.
"""

import argparse
import json
import pathlib
import time

import torch
import transformers
from safetensors.torch import load_file
from transformers import Gemma2ForCausalLM, PaliGemmaForConditionalGeneration
from transformers.generation.streamers import BaseStreamer

# A token that is in every vocabulary and is no picture.
ANY_TOKEN = 3


class _Ticker(BaseStreamer):
    def __init__(self):
        self.times, self.started = [], time.perf_counter()
        self.prompt = True

    def put(self, value):
        if not self.prompt:
            self.times.append((time.perf_counter() - self.started) * 1e3)
        self.prompt = False

    def end(self):
        pass


def _text_alone(model):
    text = Gemma2ForCausalLM(model.config.text_config)
    text.model, text.lm_head = model.model.language_model, model.lm_head
    return text


def _attention(model) -> str:
    parts = [getattr(model.config, name, None) for name in ("vision_config", "text_config")]
    named = [part._attn_implementation for part in parts if part is not None]
    return " and ".join(named) or model.config._attn_implementation


def _answer(model, inputs, tokens: int, more: dict) -> dict:
    ticker = _Ticker()
    with torch.inference_mode():
        # With a static cache on CUDA, generate() compiles the forward by itself.
        made = model.generate(
            **inputs,
            **more,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            streamer=ticker,
        )
    ids = made[0, inputs["input_ids"].shape[1] :].tolist()
    return {"ids": ids, "token_ms": ticker.times}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("inputs", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--answers", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--compiled", action="store_true")
    chosen = parser.parse_args()
    dtype = getattr(torch, chosen.dtype)
    started = time.perf_counter()
    # What transformers chooses by itself: eager where there are soft-caps, sdpa elsewhere.
    model = PaliGemmaForConditionalGeneration.from_pretrained(chosen.model, dtype=dtype)
    model = model.eval().to(chosen.device)
    if chosen.device == "cuda":
        torch.cuda.synchronize()
    load_ms = (time.perf_counter() - started) * 1e3
    inputs = load_file(chosen.inputs, device=chosen.device)
    inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    more = {}
    if chosen.compiled:
        more = {"cache_implementation": "static"}
    alone = chosen.compiled and model.config.text_config.model_type == "gemma2"
    if alone:
        model = _text_alone(model)
        ids = torch.full_like(inputs["input_ids"], ANY_TOKEN)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    answers = [_answer(model, inputs, chosen.tokens, more) for _ in range(chosen.answers)]
    cuda = chosen.device == "cuda"
    found = {
        "load_ms": load_ms,
        "answers": answers,
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "threads": torch.get_num_threads(),
        "attention": _attention(model),
        "computed": "the language model alone" if alone else "all",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
