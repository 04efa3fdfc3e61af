"""PaliGemma and PaliGemma 2 once more, without transformers, able to make typical mistakes.

Without a mistake it agrees with transformers, which says that the fixtures are understood.
With one it shows by how much the fixtures' logits move, which is what a tolerance has to
stay below. Whole sequences only, no cache.
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors import safe_open

VISION = (
    "vision_gelu_erf",
    "pixels_0_1",
    "patch_hwc",
    "patch_order_xy",
    "no_vision_pos",
    "vision_eps_1e-5",
    "no_vision_bias",
    "no_post_layernorm",
    "no_projector_bias",
)
TEXT = (
    "no_embed_scale",
    "image_times_sqrt_h",
    "image_div_sqrt_h",
    "causal_prefix",
    "suffix_bidirectional",
    "only_image_bidirectional",
    "positions_skip_images",
    "position_off_by_one_after_prompt",
    "position_0_based",
    "rope_interleaved",
    "norm_without_plus_1",
    "rms_eps_1e-5",
    "kv_heads_interleaved",
    "gelu_erf",
    "gate_up_swapped",
)
GEMMA2 = (
    "window_plus_1",
    "window_applies_to_prefix",
    "no_sliding",
    "all_sliding",
    "alternation_flipped",
    "scale_by_head_dim",
    "no_attn_softcap",
    "softcap_after_mask",
    "no_post_norms",
    "no_final_softcap",
)
# Only a padded batch shows these.
BATCH = ("ignore_padding", "positions_ignore_padding")
MISTAKES = VISION + TEXT + GEMMA2 + BATCH

_PREFIXES = (
    ("model.language_model.", "text."),
    ("language_model.model.", "text."),
    ("model.vision_tower.vision_model.", "vision."),
    ("vision_tower.vision_model.", "vision."),
    ("model.vision_tower.", "vision."),
    ("vision_tower.", "vision."),
    ("model.multi_modal_projector.linear.", "projector."),
    ("multi_modal_projector.linear.", "projector."),
)

_DEFAULTS = dict(head_dim=256, rms_norm_eps=1e-6, rope_theta=10000.0)
_GEMMA2_DEFAULTS = dict(
    query_pre_attn_scalar=256,
    sliding_window=4096,
    attn_logit_softcapping=50.0,
    final_logit_softcapping=30.0,
)


def _common_name(name: str) -> str:
    for prefix, common in _PREFIXES:
        if name.startswith(prefix):
            return common + name[len(prefix) :]
    raise KeyError(name)


def _load(folder: pathlib.Path) -> dict:
    tensors = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as shard:
            for name in shard.keys():
                tensors[_common_name(name)] = shard.get_tensor(name).float()
    return tensors


class Model:
    """A checkpoint, in f32."""

    def __init__(self, folder: pathlib.Path):
        config = json.loads((folder / "config.json").read_text())
        self.image_id = config.get("image_token_index", config.get("image_token_id"))
        text = dict(config["text_config"])
        self.gemma2 = text["model_type"] == "gemma2"
        if "rope_parameters" in text:
            text["rope_theta"] = text["rope_parameters"]["rope_theta"]
        self.text = {**_DEFAULTS, **(_GEMMA2_DEFAULTS if self.gemma2 else {}), **text}
        self.vision = {"layer_norm_eps": 1e-6, **config["vision_config"]}
        self.weights = _load(folder)

    def image_features(self, pixels, mistake=None):
        """[images, tokens, hidden size of the text]"""
        bias = self.weights["projector.bias"]
        if mistake == "no_projector_bias":
            bias = bias * 0
        return F.linear(self._vision(pixels, mistake), self.weights["projector.weight"], bias)

    def _vision(self, pixels, mistake):
        w, config = self.weights, self.vision
        heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
        if mistake == "vision_eps_1e-5":
            eps = 1e-5
        if mistake == "pixels_0_1":
            pixels = pixels * 0.5 + 0.5
        kernel = w["vision.embeddings.patch_embedding.weight"]
        if mistake == "patch_hwc":  # in place of [channel, height, width]
            kernel = kernel.permute(0, 2, 3, 1).reshape(kernel.shape)
        bias = w["vision.embeddings.patch_embedding.bias"]
        x = F.conv2d(pixels, kernel, bias, stride=config["patch_size"])
        if mistake == "patch_order_xy":
            x = x.transpose(2, 3)
        x = x.flatten(2).transpose(1, 2)
        if mistake != "no_vision_pos":
            x = x + w["vision.embeddings.position_embedding.weight"]
        batch, length, width = x.shape

        def norm(x, name):
            return F.layer_norm(x, (width,), w[name + ".weight"], w[name + ".bias"], eps)

        def linear(x, name):
            bias = None if mistake == "no_vision_bias" else w[name + ".bias"]
            return F.linear(x, w[name + ".weight"], bias)

        def split(x):
            return x.view(batch, length, heads, width // heads).transpose(1, 2)

        for i in range(config["num_hidden_layers"]):
            layer = f"vision.encoder.layers.{i}."
            normed = norm(x, layer + "layer_norm1")
            q, k, v = (split(linear(normed, f"{layer}self_attn.{p}_proj")) for p in "qkv")
            scores = q @ k.transpose(2, 3) * (width // heads) ** -0.5
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
            x = x + linear(mixed, layer + "self_attn.out_proj")
            inner = linear(norm(x, layer + "layer_norm2"), layer + "mlp.fc1")
            inner = _gelu(inner, exact=mistake == "vision_gelu_erf")
            x = x + linear(inner, layer + "mlp.fc2")
        return x if mistake == "no_post_layernorm" else norm(x, "vision.post_layernorm")

    def _embeddings(self, input_ids, pixels, mistake):
        table = self.weights["text.embed_tokens.weight"]
        scale = torch.tensor(self.text["hidden_size"] ** 0.5)
        x = table[input_ids]
        if mistake != "no_embed_scale":
            x = x * scale
        features = self.image_features(pixels, mistake).flatten(0, 1)
        if mistake == "image_times_sqrt_h":
            features = features * scale
        if mistake == "image_div_sqrt_h":
            features = features / scale
        x[input_ids == self.image_id] = features
        return x

    def _masks(self, input_ids, token_types, attention_mask, mistake):
        """Who may attend to whom, in full and in sliding layers: [batch, query, key]."""
        length = input_ids.shape[1]
        query, key = torch.arange(length)[:, None], torch.arange(length)[None]
        prefix = token_types == 0
        if mistake == "causal_prefix":
            prefix = torch.zeros_like(prefix)
        if mistake == "suffix_bidirectional":
            prefix = torch.ones_like(prefix)
        if mistake == "only_image_bidirectional":
            prefix = input_ids == self.image_id
        both = prefix[:, :, None] & prefix[:, None, :]
        real = attention_mask.bool()[:, None, :]
        if mistake == "ignore_padding":
            real = torch.ones_like(real)
        causal = key <= query
        full = (causal[None] | both) & real
        window = self.text.get("sliding_window", length) + (mistake == "window_plus_1")
        if mistake == "window_applies_to_prefix":
            return full, full & ((query - key).abs() < window)[None]
        # The prefix sees all of itself, however long: the window is on the causal part only.
        return full, ((causal & (key > query - window))[None] | both) & real

    def _positions(self, input_ids, token_types, attention_mask, mistake):
        """Rotations are relative: that the first token is 1 moves nothing but roundings."""
        positions = (attention_mask.cumsum(-1) - 1).clamp_min(0) + 1
        if mistake == "positions_ignore_padding":
            batch, length = input_ids.shape
            return torch.arange(length)[None].expand(batch, length) + 1
        if mistake == "positions_skip_images":
            return (input_ids != self.image_id).cumsum(-1) + 1
        if mistake == "position_off_by_one_after_prompt":
            return positions + (token_types == 1)
        return positions - 1 if mistake == "position_0_based" else positions

    def _norm(self, x, name, mistake):
        eps = 1e-5 if mistake == "rms_eps_1e-5" else self.text["rms_norm_eps"]
        one = 0.0 if mistake == "norm_without_plus_1" else 1.0
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        return x * (one + self.weights[name + ".weight"])

    def _attention(self, x, i, mask, rotation, mistake):
        w, config, d = self.weights, self.text, self.text["head_dim"]
        name = f"text.layers.{i}.self_attn."
        batch, length, _ = x.shape

        def heads(p):
            out = F.linear(x, w[f"{name}{p}_proj.weight"])
            return out.view(batch, length, -1, d).transpose(1, 2)

        q, k, v = heads("q"), heads("k"), heads("v")
        q, k = _rotated(q, *rotation, mistake), _rotated(k, *rotation, mistake)
        group = q.shape[1] // k.shape[1]
        if mistake == "kv_heads_interleaved":  # head h has h % kv_heads, not h // group
            k, v = k.repeat(1, group, 1, 1), v.repeat(1, group, 1, 1)
        else:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        scalar = config["query_pre_attn_scalar"] if self.gemma2 else d
        scalar = d if mistake == "scale_by_head_dim" else scalar
        scores = q @ k.transpose(2, 3) * scalar**-0.5
        cap = config["attn_logit_softcapping"] if self.gemma2 else None
        cap = None if mistake == "no_attn_softcap" else cap
        hidden = torch.finfo(scores.dtype).min
        if mistake == "softcap_after_mask":
            scores = _capped(scores.masked_fill(~mask[:, None], hidden), cap)
        else:
            scores = _capped(scores, cap).masked_fill(~mask[:, None], hidden)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, -1)
        return F.linear(mixed, w[name + "o_proj.weight"])

    def _mlp(self, x, i, mistake):
        name = f"text.layers.{i}.mlp."
        gate = F.linear(x, self.weights[name + "gate_proj.weight"])
        up = F.linear(x, self.weights[name + "up_proj.weight"])
        if mistake == "gate_up_swapped":
            gate, up = up, gate
        inner = _gelu(gate, exact=mistake == "gelu_erf") * up
        return F.linear(inner, self.weights[name + "down_proj.weight"])

    def _slides(self, i, mistake):
        if not self.gemma2 or mistake == "no_sliding":
            return False
        flipped = mistake == "alternation_flipped"
        return mistake == "all_sliding" or i % 2 == int(flipped)

    def __call__(self, input_ids, token_types, attention_mask, pixels, mistake=None):
        """Logits [batch, tokens, vocabulary]. Token type 0 is the prefix, 1 what follows."""
        assert mistake is None or mistake in MISTAKES, mistake
        tokens = (input_ids, token_types, attention_mask)
        x = self._embeddings(input_ids, pixels, mistake)
        full, sliding = self._masks(*tokens, mistake)
        d = self.text["head_dim"]
        frequencies = 1.0 / (self.text["rope_theta"] ** (torch.arange(0, d, 2).float() / d))
        angles = self._positions(*tokens, mistake)[..., None].float() * frequencies
        rotation = angles.cos()[:, None], angles.sin()[:, None]

        def norm(x, i, name):
            return self._norm(x, f"text.layers.{i}.{name}_layernorm", mistake)

        post_norms = self.gemma2 and mistake != "no_post_norms"
        for i in range(self.text["num_hidden_layers"]):
            mask = sliding if self._slides(i, mistake) else full
            out = self._attention(norm(x, i, "input"), i, mask, rotation, mistake)
            x = x + (norm(out, i, "post_attention") if post_norms else out)
            # Gemma's norm before the MLP has the name of Gemma 2's norm after attention.
            before = "pre_feedforward" if self.gemma2 else "post_attention"
            out = self._mlp(norm(x, i, before), i, mistake)
            x = x + (norm(out, i, "post_feedforward") if post_norms else out)
        x = self._norm(x, "text.norm", mistake)
        logits = F.linear(x, self.weights["text.embed_tokens.weight"])
        cap = self.text["final_logit_softcapping"] if self.gemma2 else None
        return _capped(logits, None if mistake == "no_final_softcap" else cap)


def _gelu(x, exact: bool):
    return F.gelu(x, approximate="none" if exact else "tanh")


def _capped(x, cap):
    return x if cap is None else cap * torch.tanh(x / cap)


def _rotated(x, cos, sin, mistake):
    if mistake == "rope_interleaved":
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
