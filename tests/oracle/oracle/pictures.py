"""The awkward picture files of `tests/fixtures/preprocess/files`.

Run as a program it writes them to a folder, with the Pillow that is on the path: encoders
differ between versions.
"""

import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image

from . import synthetic

SEED = 5
ORIENTATION = 0x0112


def _levels(name: str, height: int, width: int, channels: int = 3) -> np.ndarray:
    return synthetic.picture(SEED, name, height, width, channels)


def _rgb(name: str, height: int, width: int) -> Image.Image:
    return Image.fromarray(_levels(name, height, width))


def _gray(name: str, height: int, width: int) -> Image.Image:
    return Image.fromarray(_levels(name, height, width, 1)[..., 0])


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _sixteen_bits(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    return (high.astype(np.uint16) << 8) | low


def _png_rgb16(levels: np.ndarray) -> bytes:
    """Pillow cannot write RGB of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum32 = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum32

    height, width, _ = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


def write(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True)

    def save(image: Image.Image, name: str, **options) -> None:
        image.save(folder / name, **options)

    # Sizes: odd, to be enlarged, already right, right on one axis, extreme.
    save(_rgb("odd", 61, 97), "rgb_97x61.png")
    save(_rgb("up", 20, 30), "rgb_30x20_upscale.png")
    save(_rgb("same", 56, 56), "rgb_56x56_identity.png")
    save(_rgb("half", 56, 131), "rgb_131x56_one_axis.png")
    save(_rgb("one", 1, 1), "rgb_1x1.png")
    save(_rgb("wide", 3, 640), "rgb_640x3_wide.png")
    save(_rgb("tall", 500, 2), "rgb_2x500_tall.png")
    y, x = np.mgrid[0:113, 0:113]
    checker = Image.fromarray((((x + y) % 2) * 255).astype(np.uint8))
    save(checker.convert("RGB"), "rgb_113x113_checker.png")

    # Kinds of pixels.
    save(_gray("g", 70, 45), "gray_45x70.png")
    save(Image.fromarray(_levels("la", 40, 50, 2), "LA"), "gray_alpha_50x40.png")
    save(Image.fromarray(_levels("rgba", 48, 64, 4), "RGBA"), "rgba_64x48.png")
    transparent = _levels("rgba0", 40, 40, 4)
    transparent[..., 3] = 0
    save(Image.fromarray(transparent, "RGBA"), "rgba_40x40_all_transparent.png")
    save(_rgb("pal", 50, 70).quantize(16), "palette_70x50.png")
    save(_rgb("palt", 50, 70).quantize(16), "palette_70x50_trns.png", transparency=3)
    save(_rgb("gif", 33, 44).quantize(32), "palette_44x33.gif")
    save(_gray("bw", 40, 60).convert("1"), "bilevel_60x40.png")
    gray = _sixteen_bits(_levels("i16", 40, 60, 1), _levels("i16b", 40, 60, 1))
    save(Image.fromarray(gray[..., 0]), "gray16_60x40.png")
    rgb = _sixteen_bits(_levels("r16", 40, 50), _levels("r16b", 40, 50))
    (folder / "rgb16_50x40.png").write_bytes(_png_rgb16(rgb))

    # Pictures that lie, and other formats.
    for turn in (3, 5, 6):
        image, name = _rgb(f"ex{turn}", 60, 90), f"exif{turn}_90x60.jpg"
        save(image, name, quality=95, subsampling=0, exif=_exif(turn))
    save(_rgb("ex8", 60, 90), "exif8_90x60.png", exif=_exif(8))
    save(_rgb("jpg", 300, 400), "photo_400x300_420.jpg", quality=90, subsampling=2)
    save(_gray("jg", 64, 80), "gray_80x64.jpg", quality=92)
    save(_rgb("cmyk", 40, 60).convert("CMYK"), "cmyk_60x40.jpg", quality=95)
    save(_rgb("webp", 47, 83), "rgb_83x47.webp", lossless=True)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
