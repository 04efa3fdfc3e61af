"""The checkpoints to compare with: made-up weights, a published model's proportions.

`mid` is a quarter of PaliGemma 3B in depth and a third or half of it in width, the published
picture size, the published ratio between the attention's and the MLP's widths, the published
width of an attention head in the decoder. The vocabulary is an eighth of the published one, so
that the head's share of the weights stays near the published fifth. `small` is for trying
things out.

The end token never comes: every answer is as long as it may be. Seeds were chosen so that
sixteen tokens are not all the same and no two logits nearly are.
"""

import pathlib
import sys

ORACLE = pathlib.Path(__file__).resolve().parent.parent / "oracle"
sys.path.insert(0, str(ORACLE))

# The oracle has the recipe for weights; it is found by the line above.
from oracle import checkpoint, presets, synthetic  # noqa: E402, F401

_MID = dict(
    vocab_size=32_768,
    vision=dict(
        hidden_size=576,
        num_attention_heads=8,
        intermediate_size=2152,
        num_hidden_layers=8,
        image_size=224,
    ),
    text=dict(
        hidden_size=768,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=256,
        intermediate_size=3072,
        num_hidden_layers=8,
    ),
)
_SMALL = dict(
    vocab_size=8192,
    vision=dict(
        hidden_size=288,
        num_attention_heads=4,
        intermediate_size=1088,
        num_hidden_layers=4,
        image_size=224,
    ),
    text=dict(
        hidden_size=384,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=128,
        intermediate_size=1536,
        num_hidden_layers=4,
    ),
)
_SAME = dict(layout="hub", shards=1, dtype="f32", endless=True)


def _gemma(shape: dict) -> dict:
    """Gemma 1 as in PaliGemma: one key-value head."""
    text = {**shape["text"], "num_key_value_heads": 1}
    return {**shape, "text": text}


def _gemma2(shape: dict) -> dict:
    text = shape["text"]
    return {**shape, "text": {**text, "query_pre_attn_scalar": text["head_dim"]}}


SHAPES = {
    "paligemma2-mid": dict(_SAME, seed=4, family=2, **_gemma2(_MID)),
    "paligemma-mid": dict(_SAME, seed=3, family=1, **_gemma(_MID)),
    "paligemma2-small": dict(_SAME, seed=4, family=2, **_gemma2(_SMALL)),
    "paligemma-small": dict(_SAME, seed=2, family=1, **_gemma(_SMALL)),
}


def complete_shape(name: str) -> dict:
    """A shape as `oracle.checkpoint.write` wants it."""
    return presets.complete(SHAPES[name])
