"""`tests/fixtures/masks`: the mask decoder, and its masks pasted onto pictures.

The decoder is that of big_vision's `evaluators/proj/paligemma/transfers/segmentation.py`, written
down in PyTorch; its weights are the demo model's. Pasting is Pillow's, in the two ways that are
published: to be looked at (the Hugging Face Space `big-vision/paligemma`) and to be measured
(big_vision's evaluator). Runs are pycocotools'.
"""

import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco
from safetensors.torch import load_file, save_file

from . import synthetic

WEIGHTS = (
    pathlib.Path(__file__).resolve().parents[3] / "web/demo/model/vae-oid.safetensors"
)
SEED = 2301
# Of three sample pictures, what the demo model writes.
WRITTEN = {
    "boat": "074 106 022 052 040 060 033 081 109 051 015 024 036 028 036 084",
    "guitar": "077 118 026 026 121 108 035 081 011 009 087 021 081 121 023 113",
    "cat": "005 034 075 026 105 063 075 082 121 021 029 020 121 028 015 020",
}
# y0, x0, y1, x1, and the picture's width and height: larger and smaller than 64 pixels, the
# whole picture, its last row and column, halves that are rounded to even, one pixel and none.
PASTES = [
    ("boat", (218, 612, 612, 959), (448, 448)),
    ("boat", (0, 0, 1023, 1023), (97, 61)),
    ("guitar", (513, 486, 968, 851), (448, 448)),
    ("guitar", (100, 200, 356, 456), (256, 256)),
    ("cat", (394, 164, 732, 467), (123, 45)),
    ("cat", (1000, 990, 1023, 1023), (640, 333)),
    ("cat", (16, 48, 80, 176), (160, 32)),
    ("boat", (5, 300, 900, 420), (20, 11)),
    ("guitar", (511, 511, 513, 513), (512, 512)),
    ("cat", (10, 10, 12, 700), (100, 100)),
    ("guitar", (0, 3, 1023, 40), (300, 700)),
]


class MaskDecoder:
    """Codes [n, 16] to masks [n, 64, 64]."""

    def __init__(self, file: pathlib.Path = WEIGHTS, dtype: torch.dtype = torch.float32):
        self.weights = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}

    def _conv(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.conv2d(
            x, weight, self.weights[f"{name}.bias"], padding=weight.shape[-1] // 2
        )

    def _residual(self, x: torch.Tensor, name: str) -> torch.Tensor:
        y = F.relu(self._conv(x, f"{name}.net.0"))
        y = F.relu(self._conv(y, f"{name}.net.2"))
        return self._conv(y, f"{name}.net.4") + x

    @torch.no_grad()
    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        x = self.weights["_vq_vae._embedding"][codes].reshape(-1, 4, 4, 512)
        x = F.relu(self._conv(x.permute(0, 3, 1, 2), "decoder.0"))
        x = self._residual(self._residual(x, "decoder.2"), "decoder.3")
        for layer in ("decoder.4", "decoder.6", "decoder.8", "decoder.10"):
            weight, bias = self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]
            x = F.relu(F.conv_transpose2d(x, weight, bias, stride=2, padding=1))
        return self._conv(x, "decoder.12")[:, 0]


def display_box(locations, size) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in pixels."""
    (y0, x0, y1, x1), (width, height) = locations, size
    return tuple(
        round(v / 1024 * side)
        for v, side in ((x0, width), (y0, height), (x1, width), (y1, height))
    )


def metric_box(locations, size) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 in pixels."""
    (y0, x0, y1, x1), (width, height) = locations, size
    return tuple(
        int(v / 1023 * side)
        for v, side in ((x0, width), (y0, height), (x1, width), (y1, height))
    )


def display(mask: np.ndarray, box) -> np.ndarray | None:
    """u8 levels of the box's pixels, none where there are no pixels."""
    x0, y0, x1, y1 = box
    if y1 <= y0 or x1 <= x0:
        return None
    levels = (np.clip(mask * 0.5 + 0.5, 0, 1) * 255).astype("uint8")
    return np.array(Image.fromarray(levels).resize((x1 - x0, y1 - y0)))


def metric(mask: np.ndarray, box, size) -> np.ndarray | None:
    """Which pixels of the picture are the object, none where the box has no pixels."""
    x0, y0, x1, y1 = box
    if y1 <= y0 or x1 <= x0:
        return None
    stretched = Image.fromarray(mask).resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR)
    width, height = size
    inside = np.zeros((height, width), bool)
    inside[y0:y1, x0:x1] = np.array(stretched) > 0.0
    return inside


def rle(inside: np.ndarray) -> dict:
    """COCO's compressed runs."""
    runs = coco.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def _codes() -> dict[str, list[int]]:
    codes = {name: [int(code) for code in text.split()] for name, text in WRITTEN.items()}
    codes["zeros"] = [0] * 16
    for name in ("random_a", "random_b"):
        normal = synthetic.normal(SEED, name, (16,), 0.0, 1.0)
        codes[name] = [int(abs(value) * 1e4) % 128 for value in normal]
    return codes


def build(out: pathlib.Path) -> None:
    """Fills `out`, a folder that is not there yet."""
    codes = _codes()
    ids = torch.tensor(list(codes.values()))
    masks, precise = MaskDecoder()(ids), MaskDecoder(dtype=torch.float64)(ids)
    tensors = {"masks": masks.contiguous()}
    # What is pasted is decoded in f64 and has so few bits that it is the same on any machine.
    rounded = {
        name: (mask * 256).round().div(256).float().contiguous()
        for name, mask in zip(codes, precise, strict=True)
        if name in WRITTEN
    }
    cases = []
    for index, (name, locations, size) in enumerate(PASTES):
        mask = rounded[name].numpy()
        looked_at = display_box(locations, size)
        levels = display(mask, looked_at)
        measured = metric_box(locations, size)
        inside = metric(mask, measured, size)
        if levels is not None:
            tensors[f"levels.{index}"] = torch.from_numpy(levels.copy())
        cases.append(
            {
                "mask": name,
                "locations": locations,
                "size_wh": size,
                "display_box": None if levels is None else looked_at,
                "metric_box": None if inside is None else measured,
                "rle": None if inside is None else rle(inside),
                "area": None if inside is None else int(inside.sum()),
            }
        )
    tensors.update({f"rounded.{name}": mask for name, mask in rounded.items()})
    (out / "expected").mkdir(parents=True)
    save_file(tensors, out / "expected" / "masks.safetensors")
    content = {
        "codes": codes,
        "pastes": cases,
        # How far f32 is from f64, and the largest number.
        "drift": {"f64": (masks - precise).abs().max().item()},
        "largest": round(precise.abs().max().item(), 3),
    }
    (out / "masks.json").write_text(json.dumps(content, indent=1))
