"""`tests/fixtures/preprocess`: awkward picture files, and what transformers makes of each.

Levels after conversion and resize, before rescaling, by variant:

    pil       SiglipImageProcessorPil on the opened picture, with Pillow 13
    pil12     the same with Pillow 12, which always resizes the rows first
    pil_path  SiglipImageProcessorPil on the path
    tv        SiglipImageProcessor (torchvision, transformers' default) on the opened picture
    tv_path   the same on the path
    pil_null  as pil, with do_convert_rgb = null in preprocessor_config.json

`pil12` is done in this process, where Pillow is 12; the others by this module as a program,
with Pillow 13 on its path.
"""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import PIL
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.image_transforms import convert_to_rgb
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip.image_processing_siglip import SiglipImageProcessor

from .pictures import ORIENTATION
from .running import captured

SIZE, LARGE = 56, 224
ALSO_LARGE = (
    "rgb_97x61.png",
    "rgb_1x1.png",
    "rgb_640x3_wide.png",
    "photo_400x300_420.jpg",
    "rgb_113x113_checker.png",
    "rgb_56x56_identity.png",
)


def _sizes(file: pathlib.Path) -> tuple[int, ...]:
    return (SIZE, LARGE) if file.name in ALSO_LARGE else (SIZE,)


def _files(out: pathlib.Path) -> list[pathlib.Path]:
    return sorted((out / "files").iterdir())


def _options(size: int) -> dict:
    return dict(size={"height": size, "width": size}, do_convert_rgb=True)


def _levels(pixel_values: torch.Tensor) -> torch.Tensor:
    """u8 [3, size, size], from which the pixel values are computed like this, to the bit."""
    levels = torch.round((pixel_values.double() * 0.5 + 0.5) * 255).to(torch.uint8)
    rescaled = (levels.double() * 0.00392156862745098).float()
    assert (((rescaled - 0.5) / 0.5) - pixel_values).abs().max() < 1e-6
    return levels


def _rows_first(file: pathlib.Path, size: int) -> torch.Tensor:
    """Pillow 12's resize.

    Its `Image.resize` does the columns first in one case: pictures more than a hundred times
    as tall as wide. That is in Python, around the resize called here, and not in `pil12`.
    """
    picture = convert_to_rgb(Image.open(file))
    whole = (0, 0, *picture.size)
    core = picture.im.resize((size, size), Image.Resampling.BICUBIC, whole)
    levels = torch.from_numpy(np.array(picture._new(core))).permute(2, 0, 1)
    if picture.height <= 100 * picture.width:
        processor = SiglipImageProcessorPil(**_options(size))
        pixels = processor(images=Image.open(file), return_tensors="pt")["pixel_values"][0]
        assert torch.equal(_levels(pixels), levels), file.name
    return levels.contiguous()


def _attempt(processor, picture) -> torch.Tensor | str:
    """Levels, or why there are none."""
    try:
        if isinstance(picture, str):
            picture = processor.fetch_images(picture)
        pixels = processor(images=picture, return_tensors="pt")["pixel_values"][0]
    except Exception as error:  # noqa: BLE001 - whatever it raises is the result
        return f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    if pixels.shape[0] != 3:
        return f"no exception, but pixel_values has shape {tuple(pixels.shape)}"
    if pixels.abs().max() > 1.01:
        reach = pixels.abs().max().item()
        return f"no exception, but pixel_values reach {reach:.1f} (not in [-1, 1])"
    return _levels(pixels)


def _apart(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.int() - b.int()).abs()


def _compared(levels: torch.Tensor, pil: torch.Tensor) -> dict:
    apart = _apart(levels, pil)
    return {
        "max_level_diff": apart.max().item(),
        "share_of_pixels_different": round((apart > 0).double().mean().item(), 4),
        "pixel_values_max_abs_diff": apart.max().item() / 127.5,
    }


def _variants(file: pathlib.Path, size: int, pil12: torch.Tensor, tensors: dict) -> dict:
    """The entry of preprocess.json; what is new goes to `tensors`."""
    pil = SiglipImageProcessorPil(**_options(size))
    torchvision = SiglipImageProcessor(**_options(size))
    null = SiglipImageProcessorPil(**{**_options(size), "do_convert_rgb": None})
    attempts = {
        "pil": _attempt(pil, Image.open(file)),
        "pil_path": _attempt(pil, str(file)),
        "tv": _attempt(torchvision, Image.open(file)),
        "tv_path": _attempt(torchvision, str(file)),
        "pil_null": _attempt(null, Image.open(file)),
    }
    entries, seen = {}, {}
    for variant, result in attempts.items():
        if isinstance(result, str):
            entries[variant] = {"error": result}
            continue
        same = next((name for name in seen if torch.equal(seen[name], result)), None)
        seen[variant] = result
        if same:
            entries[variant] = {"same_as": same}
            continue
        key = f"{file.name}|{size}|{variant}"
        tensors[key] = result.contiguous()
        entries[variant] = {"key": key}
        if variant != "pil":
            entries[variant].update(_compared(result, seen["pil"]))
    if torch.equal(pil12, seen["pil"]):
        entries["pil12"] = {"same_as": "pil"}
    else:
        key = f"{file.name}|{size}|pil12"
        tensors[key] = pil12
        entries["pil12"] = {"key": key, **_compared(pil12, seen["pil"])}
    apart = _apart(seen["tv"], pil12).max().item()
    entries["tv"]["max_level_diff_vs_pil12"] = apart
    return entries


def _write_with_pillow_13(out: pathlib.Path, pil12_file: pathlib.Path) -> None:
    pil12, tensors, content = load_file(pil12_file), {}, {}
    for file in _files(out):
        with Image.open(file) as picture:
            content[file.name] = {
                "mode": picture.mode,
                "size_wh": picture.size,
                "exif_orientation": picture.getexif().get(ORIENTATION),
                "results": {
                    str(size): _variants(file, size, pil12[f"{file.name}|{size}"], tensors)
                    for size in _sizes(file)
                },
            }
    save_file(tensors, out / "expected.safetensors")
    (out / "preprocess.json").write_text(json.dumps(content, indent=1))


def build(out: pathlib.Path) -> None:
    """Fills `out`, a folder that is not there yet."""
    pillow13 = pathlib.Path(sys.prefix).parent / "pillow13"
    if not pillow13.is_dir() or not PIL.__version__.startswith("12."):
        raise SystemExit("preprocess needs Pillow 12 and 13: run it in what setup.sh made")
    package = pathlib.Path(__file__).parent

    def run(module: str, *arguments: pathlib.Path) -> None:
        paths = os.pathsep.join([str(pillow13), str(package.parent)])
        environment = {**os.environ, "PYTHONPATH": paths}
        command = [sys.executable, "-m", f"{package.name}.{module}", *map(str, arguments)]
        subprocess.run(command, env=environment, check=True)

    run("pictures", out / "files")
    with captured([]):
        pil12 = {
            f"{file.name}|{size}": _rows_first(file, size)
            for file in _files(out)
            for size in _sizes(file)
        }
    pil12_file = out / "pil12.safetensors"
    save_file(pil12, pil12_file)
    run("preprocess", out, pil12_file)
    pil12_file.unlink()


if __name__ == "__main__":
    assert PIL.__version__.startswith("13."), PIL.__version__
    # Deprecations, and a doubt about the picture of one pixel.
    with captured([]):
        _write_with_pillow_13(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
