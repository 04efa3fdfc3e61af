#!/usr/bin/env python
"""Makes what is in tests/fixtures again, with Hugging Face transformers.

    regenerate.py --check                  everything, into a folder that is thrown away, and
                                           compares it with tests/fixtures
    regenerate.py --out NEW pg2_gqa        one fixture, into NEW/pg2_gqa, to be kept

Nothing is overwritten, tests/fixtures least of all. Run it with the Python of setup.sh.
"""

import argparse
import os
import pathlib
import sys
import tempfile

# Nothing is fetched; and one thread, or the order of additions depends on the machine.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning")

from compare import FIXTURES, compare, report  # noqa: E402
from oracle import (  # noqa: E402
    attention_masks,
    fixture,
    generation,
    lora,
    masks,
    preprocess,
    quantized,
    tokenizer,
)
from oracle.presets import PRESETS  # noqa: E402

PARTS = (*PRESETS, "masks", "preprocess", "quant", "lora", "attention_mask", "generation")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=pathlib.Path, help="folder to fill")
    parser.add_argument("--check", action="store_true", help="compare with tests/fixtures")
    parser.add_argument(
        "--tokenizer",
        type=pathlib.Path,
        metavar="FILE",
        help="take this tokenizer.json in place of training one",
    )
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {PARTS}")
    if not chosen.out and not chosen.check:
        parser.error("say where to with --out, or --check")
    return chosen


def generate(parts: list[str], out: pathlib.Path, made: pathlib.Path | None) -> None:
    # These start from the fixtures of their presets.
    needed = {
        "quant": (quantized.PRESET,),
        "attention_mask": attention_masks.MODELS,
        "lora": lora.ADAPTERS,
        "generation": generation.PRESETS,
    }
    presets = [preset for part in parts for preset in needed.get(part, ())]
    order = sorted({*parts, *presets}, key=PARTS.index)
    there = [part for part in order if (out / part).exists()]
    if there:
        raise SystemExit(
            f"{out} already has {', '.join(there)}: remove, or choose another --out"
        )
    for part in order:
        print(f"{part} ...", file=sys.stderr, flush=True)
        folder = out / part
        if part == "preprocess":
            preprocess.build(folder)
        elif part == "masks":
            masks.build(folder)
        elif part == "quant":
            quantized.build(out / quantized.PRESET, folder)
        elif part == "lora":
            lora.build(out, folder)
        elif part == "attention_mask":
            attention_masks.build(out, folder)
        elif part == "generation":
            generation.build(out, folder)
        else:
            fixture.build(part, folder, made)


def main() -> int:
    chosen = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        out = chosen.out or pathlib.Path(temporary)
        try:
            generate(chosen.parts or list(PARTS), out, chosen.tokenizer)
        except tokenizer.OtherCorpusError as error:
            made = FIXTURES / "pg2_gqa" / "model" / "tokenizer.json"
            raise SystemExit(f"{error}: run again with --tokenizer {made}") from error
        return report(compare(out, FIXTURES)) if chosen.check else 0


if __name__ == "__main__":
    sys.exit(main())
