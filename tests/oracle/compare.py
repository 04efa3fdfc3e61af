#!/usr/bin/env python
"""Compares regenerated fixtures with others, by default with tests/fixtures.

    compare.py NEW [OLD] [--exact]

Looks at the folders that NEW has. Exits with 0 if everything agrees, 1 if not.

The same bytes always agree. Otherwise, unless --exact is given:
- inputs (weights, ids, masks, labels, levels, pictures): the values have to be the same;
- f32 tensors that were computed: within FLOATS of the tensor's largest magnitude;
- numbers in JSON: within NUMBERS, texts and whole numbers the same;
- versions, warnings and drift in cases.json: shown, not judged.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys

import torch
from PIL import Image
from safetensors.torch import load_file

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"

# On another processor torch picks other kernels, which add in another order. From f32 to f64
# the logits move by at most 2.3e-6 of their largest magnitude (`drift.f64` and `logit_absmax`
# in cases.json); two orders can each be that far off.
FLOATS = 5e-6
# Relative, and absolute: differences between f32 results are themselves reported in JSON, and
# those of logits are below 1e-4 by the rule above. Some entries are rounded to 3 digits.
NUMBERS = (2e-3, 2e-4)
# Top-level keys of cases.json, and keys of a case, that describe a machine's arithmetic.
SHOWN_ONLY = ("versions", "load_warnings", "processor_warnings", "drift")
# Computed, and given to what comes after.
INPUTS = ("pixel_values", "rounded.")
# Made by another encoder the bytes may differ; the pixels may not.
PICTURES = (".png", ".gif", ".webp")


@dataclasses.dataclass
class Result:
    file: str
    wrong: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    same_bytes: bool = False
    tensors: int = 0
    equal_tensors: int = 0
    worst: float = 0.0  # of the differences of computed tensors, relative to their largest


def _tensors(new: pathlib.Path, old: pathlib.Path, result: Result) -> None:
    ours, theirs = load_file(new), load_file(old)
    for name in sorted(ours.keys() ^ theirs.keys()):
        result.wrong.append(f"{name} is in one of them only")
    computed = new.parent.name in ("expected", "quant")
    for name in sorted(ours.keys() & theirs.keys()):
        a, b = ours[name], theirs[name]
        result.tensors += 1
        if a.dtype != b.dtype or a.shape != b.shape:
            result.wrong.append(f"{name}: {a.dtype} {a.shape}, was {b.dtype} {b.shape}")
        elif torch.equal(a, b):
            result.equal_tensors += 1
        elif not computed or a.dtype != torch.float32 or name.startswith(INPUTS):
            count = int((a != b).sum())
            result.wrong.append(f"{name}: {count} of {a.numel()} values differ")
        else:
            largest = (a - b).abs().max().item()
            relative = largest / max(b.abs().max().item(), 1e-30)
            # NaN is never within.
            if not relative <= FLOATS:
                result.wrong.append(f"{name}: {largest:.1e} apart, {relative:.1e} of it")
            result.worst = max(result.worst, relative)


def _values(new, old, path: str, result: Result) -> None:
    if path.rpartition(".")[2] in SHOWN_ONLY:
        if new != old:
            result.notes.append(f"{path.lstrip('.')} differs")
    elif isinstance(new, dict) and isinstance(old, dict):
        for key in sorted(new.keys() ^ old.keys()):
            result.wrong.append(f"{path}.{key} is in one of them only")
        for key in new.keys() & old.keys():
            _values(new[key], old[key], f"{path}.{key}", result)
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for i, (a, b) in enumerate(zip(new, old, strict=True)):
            _values(a, b, f"{path}.{i}", result)
    elif isinstance(new, float) and isinstance(old, float):
        relative, absolute = NUMBERS
        if not math.isclose(new, old, rel_tol=relative, abs_tol=absolute):
            result.wrong.append(f"{path.lstrip('.')}: {new}, was {old}")
    elif type(new) is not type(old) or new != old:
        result.wrong.append(f"{path.lstrip('.')}: {new!r}, was {old!r}")


def _pictures(new: pathlib.Path, old: pathlib.Path, result: Result) -> None:
    with Image.open(new) as a, Image.open(old) as b:
        same = a.mode == b.mode and a.size == b.size
        if same and a.convert("RGBA").tobytes() == b.convert("RGBA").tobytes():
            result.notes.append("same pixels in other bytes")
        else:
            result.wrong.append("other pixels")


def _file(new: pathlib.Path, old: pathlib.Path, name: str, exact: bool) -> Result:
    result = Result(name)
    if not new.is_file() or not old.is_file():
        result.wrong.append("is missing" if old.is_file() else "is not in the old folder")
    elif new.read_bytes() == old.read_bytes():
        result.same_bytes = True
        if new.suffix == ".safetensors":
            result.tensors = result.equal_tensors = len(load_file(new))
    elif exact:
        result.wrong.append("other bytes")
    elif new.suffix == ".safetensors":
        _tensors(new, old, result)
    elif new.suffix == ".json":
        texts = (file.read_text("utf-8") for file in (new, old))
        _values(*map(json.loads, texts), "", result)
    elif new.suffix in PICTURES:
        _pictures(new, old, result)
    else:
        result.wrong.append("other bytes")
    return result


def compare(new: pathlib.Path, old: pathlib.Path, exact: bool = False) -> list[Result]:
    """One result for every file that either has, in the folders that `new` has."""
    results = []
    for folder in sorted(entry for entry in new.iterdir() if entry.is_dir()):
        files = set()
        for root in (new, old):
            found = (root / folder.name).rglob("*")
            files |= {str(file.relative_to(root)) for file in found if file.is_file()}
        results += [_file(new / name, old / name, name, exact) for name in sorted(files)]
    return results


def report(results: list[Result]) -> int:
    """Prints what is not the same to the byte, and returns the exit code."""
    for result in results:
        if result.same_bytes:
            continue
        line = f"{'DIFFERS' if result.wrong else 'agrees ':7}  {result.file}"
        if result.tensors:
            line += f": {result.equal_tensors} of {result.tensors} tensors equal"
        if result.worst:
            line += f", the others at most {result.worst:.1e} of their largest apart"
        print(line)
        for text in result.wrong + result.notes:
            print(f"           {text}")
    wrong = sum(bool(result.wrong) for result in results)
    same = sum(result.same_bytes for result in results)
    equal = sum(result.equal_tensors for result in results)
    tensors = sum(result.tensors for result in results)
    worst = max((result.worst for result in results), default=0.0)
    print(
        f"{len(results)} files: {same} the same to the byte, "
        f"{len(results) - same - wrong} within tolerance, {wrong} different; "
        f"{equal} of {tensors} tensors equal, the others {worst:.1e} of their largest apart"
    )
    if not results:
        print("nothing to compare: the new folder has no folders in it")
    return 1 if wrong or not results else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("old", type=pathlib.Path, nargs="?", default=FIXTURES)
    parser.add_argument("--exact", action="store_true", help="the same bytes or nothing")
    chosen = parser.parse_args()
    for folder in (chosen.new, chosen.old):
        if not folder.is_dir():
            parser.error(f"{folder} is no folder")
    return report(compare(chosen.new, chosen.old, chosen.exact))


if __name__ == "__main__":
    sys.exit(main())
