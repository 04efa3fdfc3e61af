"""Runs transformers' model and keeps what it computes on the way."""

import contextlib
import io
import logging
import warnings

import torch
import transformers
from transformers import DynamicCache, PaliGemmaForConditionalGeneration

NEW_TOKENS = 40
INPUTS = ("input_ids", "token_type_ids", "attention_mask", "pixel_values")

torch.set_num_threads(1)
torch.set_grad_enabled(False)
transformers.utils.logging.disable_progress_bar()


@contextlib.contextmanager
def captured(lines: list[str]):
    """Adds Python's warnings and transformers' log lines to `lines`, and keeps them off the
    terminal."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logger = logging.getLogger("transformers")
    kept, logger.handlers = logger.handlers, [handler]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        logger.handlers = kept
    lines += [line for line in log.getvalue().splitlines() if line.strip()]
    lines += [str(warning.message) for warning in caught]


def load(folder, dtype=torch.float32, attention="eager"):
    return PaliGemmaForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention
    ).eval()


def inputs_of(prepared: dict) -> dict:
    return {key: prepared[key] for key in INPUTS}


def recorded_forward(model, inputs: dict) -> tuple:
    """One prefill: its output, and every tensor on the way by the name it has in
    `expected/single.safetensors`."""
    kept, hooks = {}, []
    text, vision = model.model.language_model, model.model.vision_tower

    def keep(key):
        def hook(_module, _arguments, out):
            out = out[0] if isinstance(out, tuple) else out
            kept[key] = out.float().clone()

        return hook

    def keep_inputs(_module, _arguments, named):
        kept["text.inputs_embeds"] = named["inputs_embeds"].float().clone()
        kept["position_ids"] = named["position_ids"].clone()
        masks = named["attention_mask"]
        masks = masks if isinstance(masks, dict) else {"full_attention": masks}
        for kind, mask in masks.items():
            if mask is not None:
                allowed = mask if mask.dtype == torch.bool else mask == 0
                kept["mask." + kind] = allowed.to(torch.uint8)

    hooks.append(text.register_forward_pre_hook(keep_inputs, with_kwargs=True))
    stages = {
        "vision.embeddings": vision.embeddings,
        "vision.last_hidden_state": vision.post_layernorm,
        "image_features": model.model.multi_modal_projector,
        "text.final_norm": text.norm,
    }
    for i, layer in enumerate(vision.encoder.layers):
        stages[f"vision.layer_out.{i}"] = layer
    for i, layer in enumerate(text.layers):
        stages[f"text.layer_out.{i}"] = layer
    hooks += [module.register_forward_hook(keep(key)) for key, module in stages.items()]
    # Made without a config it keeps every position of the sliding layers too.
    cache = DynamicCache()
    out = model(
        **inputs,
        output_hidden_states=True,
        output_attentions=True,
        past_key_values=cache,
        use_cache=True,
    )
    for hook in hooks:
        hook.remove()
    for i, layer in enumerate(cache.layers):
        kept[f"cache.k.{i}"], kept[f"cache.v.{i}"] = layer.keys.float(), layer.values.float()
    for i, attention in enumerate(out.attentions):
        kept[f"text.attentions.{i}"] = attention.float()
    pixels = inputs["pixel_values"].to(model.dtype)
    for i, attention in enumerate(vision(pixels, output_attentions=True).attentions):
        kept[f"vision.attentions.{i}"] = attention.float()

    states, layers = out.hidden_states, len(text.layers)
    # What README.md says of `text.layer_out` in terms of transformers' own `hidden_states`.
    assert len(states) == layers + 1
    assert torch.equal(states[0], kept["text.inputs_embeds"])
    assert torch.equal(states[1], kept["text.layer_out.0"])
    assert torch.equal(states[layers], kept["text.final_norm"])
    return out, kept


def generate(model, inputs: dict, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy ids [batch, n] and the logits that chose them [batch, n, vocabulary]."""
    out = model.generate(
        **inputs,
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
        **options,
    )
    prompt = inputs["input_ids"].shape[1]
    return out.sequences[:, prompt:], torch.stack(out.logits, 1).float()


def generate_uncached(model, inputs: dict, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by a whole forward pass each step; a generated token has token type 1."""
    ids, types, mask = (inputs[key] for key in INPUTS[:3])
    steps = []
    for _ in range(count):
        # As generate() has it: padding counts for nothing, the first token is 1.
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1) + 1
        out = model(
            input_ids=ids,
            token_type_ids=types,
            attention_mask=mask,
            position_ids=positions,
            pixel_values=inputs["pixel_values"],
        )
        steps.append(out.logits[:, -1].float())
        chosen = steps[-1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, chosen], 1)
        types = torch.cat([types, torch.ones_like(chosen)], 1)
        mask = torch.cat([mask, torch.ones_like(chosen)], 1)
    return ids[:, -count:], torch.stack(steps, 1)


def top_gaps(logits: torch.Tensor) -> torch.Tensor:
    """By how much the largest logit leads."""
    top = logits.topk(2, -1).values
    return top[..., 0] - top[..., 1]


def largest(difference: torch.Tensor) -> float:
    return difference.abs().max().item()
