#!/usr/bin/env python
"""transformers on a GPU with a published shape and made-up weights, timed as `bench` does.

    torch_shape.py --shape paligemma2-3b-224 [--runs N] [--tokens N] [--compiled] [--device cpu]

No file is needed. Prints a line of JSON: shape, device, versions, and under `eager`, in
milliseconds, vision with its projector, an answer of one token to a picture and eight tokens
(`first_token`), one of N tokens more (`answer`), and the difference for each of those.
--compiled prints another line: under `compiled` N tokens, and each, of the language model alone
with a static cache and a compiled forward, as in 5.23 transformers' static cache fails for the
whole of PaliGemma 2. What is under way goes to standard error.
"""

import argparse
import json
import statistics
import sys
import time

import torch
import transformers
from transformers import (
    Gemma2ForCausalLM,
    GemmaForCausalLM,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    StaticCache,
)

_VISION = dict(
    model_type="siglip_vision_model",
    hidden_size=1152,
    intermediate_size=4304,
    num_attention_heads=16,
    num_hidden_layers=27,
    patch_size=14,
    vision_use_head=False,
)
_GEMMA = dict(
    model_type="gemma",
    hidden_size=2048,
    intermediate_size=16384,
    num_attention_heads=8,
    num_key_value_heads=1,
    num_hidden_layers=18,
    head_dim=256,
)
_GEMMA2 = dict(
    model_type="gemma2",
    hidden_activation="gelu_pytorch_tanh",
    head_dim=256,
    query_pre_attn_scalar=256,
    attn_logit_softcapping=50.0,
    final_logit_softcapping=30.0,
    sliding_window=4096,
)
_TEXT = {
    "paligemma-3b": _GEMMA,
    "paligemma2-3b": dict(
        _GEMMA2,
        hidden_size=2304,
        intermediate_size=9216,
        num_attention_heads=8,
        num_key_value_heads=4,
        num_hidden_layers=26,
    ),
    "paligemma2-10b": dict(
        _GEMMA2,
        hidden_size=3584,
        intermediate_size=14336,
        num_attention_heads=16,
        num_key_value_heads=8,
        num_hidden_layers=42,
    ),
    "paligemma2-28b": dict(
        _GEMMA2,
        hidden_size=4608,
        intermediate_size=36864,
        num_attention_heads=32,
        num_key_value_heads=16,
        num_hidden_layers=46,
        head_dim=128,
        query_pre_attn_scalar=144,
    ),
}
_VOCABULARY = {"gemma": 257_216, "gemma2": 257_216}
_IMAGE_TOKEN = 257_152
_PROMPT = 8


def _config(shape: str) -> PaliGemmaConfig:
    text_name, _, side = shape.rpartition("-")
    text = dict(_TEXT[text_name])
    text["vocab_size"] = _VOCABULARY[text["model_type"]]
    return PaliGemmaConfig(
        vision_config=dict(_VISION, image_size=int(side), projection_dim=text["hidden_size"]),
        text_config=text,
        image_token_index=_IMAGE_TOKEN,
        image_token_id=_IMAGE_TOKEN,
        projection_dim=text["hidden_size"],
        hidden_size=text["hidden_size"],
        tie_word_embeddings=True,
    )


def _model(config: PaliGemmaConfig, device: str) -> PaliGemmaForConditionalGeneration:
    # Times do not depend on the values as long as they are ordinary numbers.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    torch.manual_seed(1)
    try:
        with torch.device(device):
            model = PaliGemmaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02)
    return model.eval()


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _timed(run, runs: int) -> dict:
    times = []
    for _ in range(runs + 1):
        _finish()
        started = time.perf_counter()
        run()
        _finish()
        times.append((time.perf_counter() - started) * 1e3)
    rest = times[1:] or times
    return {
        "first_ms": times[0],
        "median_ms": statistics.median(rest),
        "min_ms": min(rest),
        "max_ms": max(rest),
    }


def _say(what: str) -> None:
    print(f"{time.strftime('%X')} {what}", file=sys.stderr, flush=True)


def _eager(model, config, runs: int, tokens: int) -> dict:
    side = config.vision_config.image_size
    patches = (side // config.vision_config.patch_size) ** 2
    device = model.device
    pixels = torch.rand(1, 3, side, side, device=device, dtype=torch.bfloat16) * 2 - 1
    ids = torch.tensor([[_IMAGE_TOKEN] * patches + list(range(2, 2 + _PROMPT))], device=device)
    kinds = torch.zeros_like(ids)
    inputs = dict(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        token_type_ids=kinds,
        pixel_values=pixels,
    )
    with torch.inference_mode():
        vision = _timed(lambda: model.model.get_image_features(pixels), runs)
        _say("vision")

        def answer(count):
            return model.generate(
                **inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False
            )

        # generate() itself answers first with one token, then with all.
        first = _timed(lambda: answer(1), runs)
        _say("first token")
        all_of_them = _timed(lambda: answer(tokens + 1), runs)
        _say("tokens")
    each = (all_of_them["median_ms"] - first["median_ms"]) / tokens
    return {
        "vision": vision,
        "first_token": first,
        "answer": all_of_them,
        "token_ms": each,
        "tokens_per_second": 1e3 / each,
    }


def _compiled(model, config, runs: int, tokens: int) -> dict:
    """The language model alone: a step with a static cache, replayed as a graph."""
    kind = Gemma2ForCausalLM if config.text_config.model_type == "gemma2" else GemmaForCausalLM
    with torch.device("meta"):
        text = kind(config.text_config)
    text.model, text.lm_head = model.model.language_model, model.lm_head
    text = text.eval()
    vision = config.vision_config
    length = (vision.image_size // vision.patch_size) ** 2 + _PROMPT
    # It counts on from one answer to the next.
    room = length + (runs + 2) * tokens
    cache = StaticCache(config=config.text_config, max_cache_len=room)
    device = model.device
    ids = torch.full((1, length), 3, device=device)
    with torch.inference_mode():
        positions = torch.arange(length, device=device)
        text(ids, past_key_values=cache, cache_position=positions, use_cache=True)
        _say("static cache filled")

        def forward(token, position):
            out = text(token, past_key_values=cache, cache_position=position, use_cache=True)
            return out.logits[:, -1].argmax(-1, keepdim=True)

        step = torch.compile(forward, mode="reduce-overhead", fullgraph=False)
        token = torch.full((1, 1), 3, device=device)

        def answer():
            nonlocal token
            for i in range(tokens):
                torch.compiler.cudagraph_mark_step_begin()
                position = torch.tensor([length + i], device=device)
                token = step(token, position).clone()

        found = _timed(answer, runs)
        _say("compiled")
    each = found["median_ms"] / tokens
    return {"answer": found, "token_ms": each, "tokens_per_second": 1e3 / each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", default="paligemma2-3b-224")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--device", default="cuda")
    chosen = parser.parse_args()
    config = _config(chosen.shape)
    model = _model(config, chosen.device)
    weights = sum(parameter.numel() for parameter in model.parameters())
    _say(f"{weights / 1e9:.2f} billion weights")
    found = {
        "shape": chosen.shape,
        "device": torch.cuda.get_device_name() if chosen.device == "cuda" else "CPU",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "dtype": "bfloat16",
        "attention": config.text_config._attn_implementation,
        "eager": _eager(model, config, chosen.runs, chosen.tokens),
    }
    print(json.dumps(found), flush=True)
    if chosen.compiled:
        found = {"compiled": _compiled(model, config, chosen.runs, chosen.tokens)}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
