#!/usr/bin/env python
"""Writes a checkpoint of `shapes.py` and a picture for it: the same bits every time.

    checkpoint.py SHAPE OUT

OUT gets model/, which our engine, transformers and candle read, and picture.png, which is as
large as the model sees it, so that no program's resizing counts.
"""

import argparse
import pathlib

from PIL import Image

from shapes import ORACLE, SHAPES, checkpoint, complete_shape, synthetic

# A fixture's, PaliGemma's in miniature; it has fewer tokens than the embedding has rows.
TOKENIZER = ORACLE.parent / "fixtures/pg2_gqa/model/tokenizer.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=pathlib.Path)
    chosen = parser.parse_args()
    shape = complete_shape(chosen.shape)
    weights = checkpoint.write(shape, chosen.out / "model", TOKENIZER)
    count = sum(weight.numel() for weight in weights.values())
    side = shape["vision"]["image_size"]
    pixels = synthetic.picture(shape["seed"], "peers", side, side)
    Image.fromarray(pixels).save(chosen.out / "picture.png")
    print(f"{chosen.out}: {count / 1e6:.1f} million weights")


if __name__ == "__main__":
    main()
