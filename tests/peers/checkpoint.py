#!/usr/bin/env python
"""Writes a checkpoint of `shapes.py` and a picture for it: the same bits every time.

    checkpoint.py SHAPE OUT

OUT gets model/, which our engine, transformers and candle read, and picture.png, which is as
large as the model sees it, so that no program's resizing counts.
"""

import argparse
import pathlib

from oracle import checkpoint, synthetic
from PIL import Image

import shapes

# A fixture's, PaliGemma's in miniature; it has fewer tokens than the embedding has rows.
TOKENIZER = shapes.ORACLE.parent / "fixtures/pg2_gqa/model/tokenizer.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shape", choices=shapes.SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    chosen = parser.parse_args()
    shape = shapes.shape(chosen.shape)
    weights = checkpoint.write(shape, chosen.out / "model", TOKENIZER)
    count = sum(weight.numel() for weight in weights.values())
    side = shape["vision"]["image_size"]
    pixels = synthetic.picture(shape["seed"], "peers", side, side)
    Image.fromarray(pixels).save(chosen.out / "picture.png")
    print(f"{chosen.out}: {count / 1e6:.1f} million weights")


if __name__ == "__main__":
    main()
