"""Writes a checkpoint as it would come from the Hugging Face Hub."""

import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

from . import synthetic, tokenizer
from .presets import image_tokens

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
# Padded to a multiple of 64, as 257152 + 1 is to 257216 in the real one.
VOCAB_SIZE = -(-(tokenizer.TOKENS + 1) // 64) * 64
EMBEDDING = "language_model.model.embed_tokens.weight"
EOS_ID = 1

GENERATION = {
    "_from_model_config": True,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "transformers_version": "4.47.0.dev0",
}


def dump(path: pathlib.Path, content, indent: int | None = 2) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    path.write_text(text + "\n", encoding="utf-8")


def vocabulary(preset: dict) -> int:
    """Rows of the embedding; a preset may ask for more than there are tokens."""
    return preset.get("vocab_size", VOCAB_SIZE)


def _text_recipe(preset: dict) -> list:
    text = preset["text"]
    hidden, head_dim = text["hidden_size"], text["head_dim"]
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    inner, gemma2 = text["intermediate_size"], preset["family"] == 2
    query_scalar = text.get("query_pre_attn_scalar", 256) if gemma2 else head_dim
    embedding, logits = 0.5, 4.0
    query_key = (2.0 * query_scalar**0.5 / head_dim**0.5) ** 0.5 / hidden**0.5
    rows = (vocabulary(preset), hidden)
    recipe = [(EMBEDDING, rows, 0.0, embedding / hidden**0.5)]
    for i in range(text["num_hidden_layers"]):
        layer = f"language_model.model.layers.{i}."
        attention, mlp = layer + "self_attn.", layer + "mlp."
        inputs, outputs = hidden**-0.5, 1.5 * (heads * head_dim) ** -0.5
        recipe += [
            (layer + "input_layernorm.weight", (hidden,), 0.0, 0.25),
            (attention + "q_proj.weight", (heads * head_dim, hidden), 0.0, query_key),
            (attention + "k_proj.weight", (kv_heads * head_dim, hidden), 0.0, query_key),
            (attention + "v_proj.weight", (kv_heads * head_dim, hidden), 0.0, inputs),
            (attention + "o_proj.weight", (hidden, heads * head_dim), 0.0, outputs),
            (layer + "post_attention_layernorm.weight", (hidden,), 0.0, 0.25),
            (mlp + "gate_proj.weight", (inner, hidden), 0.0, 1.2 * inputs),
            (mlp + "up_proj.weight", (inner, hidden), 0.0, inputs),
            (mlp + "down_proj.weight", (hidden, inner), 0.0, 1.5 * inner**-0.5),
        ]
        if gemma2:
            for name in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
                recipe.append((f"{layer}{name}.weight", (hidden,), 0.0, 0.25))
    # 1 + w has mean 0: random signs cancel the tied embedding's own term, without which
    # greedy decoding only repeats the last token.
    norm = ("language_model.model.norm.weight", (hidden,), -1.0, logits / embedding)
    return recipe + [norm]


def _vision_recipe(preset: dict) -> list:
    vision, hidden = preset["vision"], preset["text"]["hidden_size"]
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    patch = vision["patch_size"]
    tower = "vision_tower.vision_model."
    patches = tower + "embeddings.patch_embedding"
    positions = tower + "embeddings.position_embedding.weight"
    recipe = [
        (patches + ".weight", (width, 3, patch, patch), 0.0, 2.0 / (3 * patch * patch) ** 0.5),
        (patches + ".bias", (width,), 0.0, 0.2),
        (positions, (image_tokens(preset), width), 0.0, 0.5),
    ]

    def norm(name):
        return [(name + ".weight", (width,), 1.0, 0.2), (name + ".bias", (width,), 0.0, 0.2)]

    def linear(name, outputs, inputs, scale, bias):
        return [
            (name + ".weight", (outputs, inputs), 0.0, scale * inputs**-0.5),
            (name + ".bias", (outputs,), 0.0, bias),
        ]

    for i in range(vision["num_hidden_layers"]):
        layer = f"{tower}encoder.layers.{i}."
        attention = layer + "self_attn."
        recipe += norm(layer + "layer_norm1") + norm(layer + "layer_norm2")
        recipe += linear(attention + "q_proj", width, width, 2**0.5, 0.3)
        recipe += linear(attention + "k_proj", width, width, 2**0.5, 0.3)
        recipe += linear(attention + "v_proj", width, width, 1.0, 0.1)
        recipe += linear(attention + "out_proj", width, width, 1.2, 0.1)
        recipe += linear(layer + "mlp.fc1", inner, width, 1.0, 0.1)
        recipe += linear(layer + "mlp.fc2", width, inner, 1.2, 0.1)
    recipe += norm(tower + "post_layernorm")
    return recipe + linear("multi_modal_projector.linear", hidden, width, 1.0, 0.2)


def recipe(preset: dict) -> list:
    """[(name in the Hub's layout, shape, mean, std)].

    The scales keep every activation near 1, attention scores at a standard deviation of 2,
    logits at 4, and let the layers, not the embedding, dominate the residual stream.
    """
    return _text_recipe(preset) + _vision_recipe(preset)


def _weights(preset: dict) -> dict:
    weights = {}
    for name, shape, mean, std in recipe(preset):
        values = synthetic.normal(preset["seed"], name, shape, mean, std)
        if name == EMBEDDING:
            # <image>, and rows that are no token, must never win the argmax.
            values[tokenizer.IMAGE_ID :] = 0.0
            if preset.get("endless"):
                values[EOS_ID] = 0.0
        weights[name] = torch.from_numpy(values).to(DTYPES[preset["dtype"]])
    return weights


def _config(preset: dict) -> dict:
    """The sparse config.json of the Hub: what equals a class's default is left out."""
    hidden, tokens = preset["text"]["hidden_size"], image_tokens(preset)
    dtype = {"f32": "float32", "bf16": "bfloat16"}[preset["dtype"]]
    common = {"num_image_tokens": tokens, "torch_dtype": dtype}
    text = {**preset["text"], "vocab_size": vocabulary(preset), **common}
    if "rope_parameters" in text:
        text["rope_theta"] = text.pop("rope_parameters")["rope_theta"]
    vision = {
        **preset["vision"],
        "num_image_tokens": tokens,
        "projection_dim": hidden,
        "projector_hidden_act": "gelu_fast",
        "torch_dtype": dtype,
    }
    return {
        "_vocab_size": tokenizer.IMAGE_ID,
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "hidden_size": hidden,
        "ignore_index": -100,
        "image_token_index": tokenizer.IMAGE_ID,
        "model_type": "paligemma",
        "projection_dim": hidden,
        "text_config": text,
        "torch_dtype": dtype,
        "transformers_version": "4.47.0.dev0",
        "vision_config": vision,
    }


def _preprocessor(preset: dict) -> dict:
    size = preset["vision"]["image_size"]
    return {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "image_processor_type": "SiglipImageProcessor",
        "image_seq_length": image_tokens(preset),
        "processor_class": "PaliGemmaProcessor",
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": size, "width": size},
    }


def _bytes(weights: dict) -> int:
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


def _write_shards(weights: dict, count: int, folder: pathlib.Path) -> None:
    if count == 1:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return
    total = _bytes(weights)
    shards, size = [{}], 0
    for name, weight in weights.items():
        more = weight.numel() * weight.element_size()
        if size and size + more > total / count and len(shards) < count:
            shards.append({})
            size = 0
        shards[-1][name] = weight
        size += more
    places = {}
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        places.update(dict.fromkeys(shard, file))
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    dump(folder / "model.safetensors.index.json", index)


def _write_as_transformers_5(preset: dict, weights: dict, folder: pathlib.Path) -> None:
    """Loads the Hub's layout and saves it again: names and config.json are then v5's."""
    hub = folder / "hub"
    hub.mkdir()
    shutil.copy(folder / "config.json", hub)
    _write_shards(weights, 1, hub)
    dtype = DTYPES[preset["dtype"]]
    config = PaliGemmaConfig.from_pretrained(hub)
    config.dtype = dtype
    model = PaliGemmaForConditionalGeneration(config).to(dtype)
    loaded = PaliGemmaForConditionalGeneration.from_pretrained(hub, dtype=dtype)
    model.load_state_dict(loaded.state_dict())
    shards = preset["shards"]
    # A fifth more than equal parts, because tensors are not divided.
    size = int(_bytes(weights) / shards * 1.2) if shards > 1 else "5GB"
    model.save_pretrained(folder, max_shard_size=size)
    shutil.rmtree(hub)


def write(preset: dict, folder: pathlib.Path, made: pathlib.Path | None) -> dict:
    """Fills a folder and returns the weights by their names in the Hub's layout.

    `made`: a tokenizer.json to take in place of training one.
    """
    folder.mkdir(parents=True)
    weights = _weights(preset)
    dump(folder / "config.json", _config(preset))
    dump(folder / "tokenizer.json", tokenizer.build(preset["layout"], made), indent=None)
    dump(folder / "tokenizer_config.json", tokenizer.CONFIG)
    dump(folder / "preprocessor_config.json", _preprocessor(preset))
    if preset["layout"] == "hub":
        _write_shards(weights, preset["shards"], folder)
    else:
        _write_as_transformers_5(preset, weights, folder)
    dump(folder / "generation_config.json", GENERATION)
    return weights
