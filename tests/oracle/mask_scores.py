#!/usr/bin/env python
"""What the mask decoder's PyTorch twin makes of codes and boxes that were written down.

    mask_scores.py FILE.json

FILE holds `weights`, the mask decoder's safetensors file, and `objects`: each with `codes`,
`locations` (y0, x0, y1, x1), `size_wh` and `truth`, a mask as COCO's compressed runs. Prints as
JSON the intersection over union of each, pasted as big_vision's evaluator does it.
"""

import json
import pathlib
import sys

import torch
from oracle import masks
from pycocotools import mask as coco

AT_ONCE = 64


def main() -> None:
    task = json.loads(pathlib.Path(sys.argv[1]).read_text())
    decoder = masks.MaskDecoder(pathlib.Path(task["weights"]))
    objects, overlaps = task["objects"], []
    for start in range(0, len(objects), AT_ONCE):
        batch = objects[start : start + AT_ONCE]
        decoded = decoder(torch.tensor([found["codes"] for found in batch]))
        for found, mask in zip(batch, decoded, strict=True):
            size = found["size_wh"]
            box = masks.metric_box(found["locations"], size)
            inside = masks.metric(mask.numpy(), box, size)
            truth = coco.decode(found["truth"]).astype(bool)
            if inside is None:
                overlaps.append(0.0)
                continue
            union = int((inside | truth).sum())
            overlaps.append(int((inside & truth).sum()) / union if union else 0.0)
    print(json.dumps({"torch": torch.__version__, "overlaps": overlaps}))


if __name__ == "__main__":
    main()
