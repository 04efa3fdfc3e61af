"""`sensitivity.json`: by how much each mistake of `reference.py` moves a fixture's logits.

Measured over the prompt and 40 positions after it, where the tokens that transformers
generated are given. Before that, every recorded output has to come out of the reference.
"""

import json
import pathlib

import torch
from safetensors.torch import load_file

from .reference import BATCH, GEMMA2, TEXT, VISION, Model
from .running import INPUTS, largest

# Two f32 implementations that add in different orders; see `tests/transformers/stages.rs`.
AGREEMENT = 2e-4


def _with_answer(expected: dict) -> tuple:
    """The tokens of prompt and answer."""
    answer = expected["generated_ids"]
    ones = torch.ones_like(answer)
    ids, types, mask, pixels = (expected[key] for key in INPUTS)
    return (
        torch.cat([ids, answer], 1),
        torch.cat([types, ones], 1),
        torch.cat([mask, ones], 1),
        pixels,
    )


def _check(model: Model, case: str, expected: dict) -> None:
    inputs = [expected[key] for key in INPUTS]
    logits = model(*inputs)
    if case == "suffix":
        pairs = [(logits[0, expected["suffix_positions"] - 1], expected["suffix_logits"])]
    else:
        start = inputs[0].shape[1] - 1
        steps = model(*_with_answer(expected))[:, start:-1]
        if not torch.equal(steps.argmax(-1), expected["generated_ids"]):
            raise SystemExit(f"{case}: the reference generates other ids than transformers")
        if case == "single":
            pairs = [
                (logits, expected["logits"]),
                (steps, expected["step_logits"]),
                (model.image_features(inputs[3]), expected["image_features"]),
            ]
        else:
            pairs = [(logits[:, -1], expected["logits_last"])]
    worst = max(largest(ours - theirs) for ours, theirs in pairs)
    if worst > AGREEMENT:
        raise SystemExit(f"{case}: the reference is {worst:.1e} from transformers")


def _moved(model: Model, expected: dict, correct: torch.Tensor, mistake: str) -> dict:
    inputs = _with_answer(expected)
    start = expected["input_ids"].shape[1] - 1
    wrong = model(*inputs, mistake=mistake)
    difference = (correct - wrong).abs()
    chosen = wrong[:, start:-1].argmax(-1)
    wrong_ids = (chosen != expected["generated_ids"]).any(0).nonzero().flatten()
    return {
        "max_abs": difference.amax(-1)[inputs[2].bool()].max().item(),
        "prefill_last_max_abs": difference[:, start].max().item(),
        "first_wrong_token": int(wrong_ids[0]) if len(wrong_ids) else None,
    }


def write(fixture: pathlib.Path, family: int) -> None:
    model = Model(fixture / "model")
    expected = {file.stem: load_file(file) for file in sorted((fixture / "expected").iterdir())}
    for case, tensors in expected.items():
        _check(model, case, tensors)
    shown_by = dict.fromkeys(VISION + TEXT, ("single", "multi"))
    if family == 2:
        shown_by.update(dict.fromkeys(GEMMA2, ("single", "multi")))
    shown_by.update(dict.fromkeys(BATCH, ("batch2",)))
    correct = {
        case: model(*_with_answer(expected[case])) for case in ("single", "multi", "batch2")
    }
    content = {
        mistake: {case: _moved(model, expected[case], correct[case], mistake) for case in cases}
        for mistake, cases in shown_by.items()
    }
    (fixture / "sensitivity.json").write_text(json.dumps(content, indent=1))
