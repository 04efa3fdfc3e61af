"""`generation/`: answers by other means than the plainest, and what they are made from.

Penalties, temperature, top-k and top-p are transformers' own processors; probabilities are its
model's. Three things it does not have are written down here: the random numbers (a counter-based
SplitMix64), the draw (the first id, in the order of ids, at which the probabilities so far exceed
the number) and big_vision's beam search, which has no length penalty.
"""

import pathlib

import torch
from PIL import Image
from transformers import AutoProcessor
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from .checkpoint import dump
from .running import inputs_of, load

PRESETS = ("pg1_gqa_bf16", "pg2_gqa")
DEMO = pathlib.Path(__file__).resolve().parents[3] / "web" / "demo"
TEXT, IMAGE = "answer en what is the color of the car?", "image_a.png"
NEW_TOKENS = 16
MASK = (1 << 64) - 1

# No honest rounding moves a probability by so much, nor a sum of log-probabilities.
MARGIN = 1e-5
BEAM_MARGIN = 5e-4


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def random_number(seed: int, attempt: int, step: int) -> float:
    """From 0 to 1, a multiple of 2^-24."""
    counter = (attempt << 32 | step) + 1
    return (_mix((_mix(seed) + counter * 0x9E3779B97F4A7C15) & MASK) >> 40) / (1 << 24)


def processed(logits, seen, how: dict):
    """Logits [1, vocabulary] after the processors, in transformers' order."""
    scores = logits.clone()
    if how.get("repetition_penalty", 1.0) != 1.0:
        scores = RepetitionPenaltyLogitsProcessor(how["repetition_penalty"])(seen, scores)
    if how.get("unknown"):
        scores = SuppressTokensLogitsProcessor(how["unknown"])(seen, scores)
    if how.get("temperature", 1.0) != 1.0:
        scores = TemperatureLogitsWarper(how["temperature"])(seen, scores)
    if how.get("top_k"):
        scores = TopKLogitsWarper(how["top_k"])(seen, scores)
    if how.get("top_p", 1.0) < 1.0:
        scores = TopPLogitsWarper(how["top_p"])(seen, scores)
    return scores


def drawn(scores, number: float) -> tuple[int, float]:
    """The id that a number draws, and how far the number is from where it would draw another."""
    sums = scores[0].double().softmax(-1).cumsum(-1)
    index = int((sums <= number).sum())
    before = sums[index - 1].item() if index else 0.0
    return index, min(number - before if before else 1.0, sums[index].item() - number)


class Asked:
    """A model with the inputs of one request, asked for logits again and again."""

    def __init__(self, model, inputs: dict, unknown: list[int]):
        self.model, self.inputs, self.unknown = model, inputs, unknown
        self.prompt = inputs["input_ids"]

    def logits(self, answers: list[list[int]]):
        """After each of these answers of one length: [answers, vocabulary]."""
        count, more = len(answers), len(answers[0])
        tail = torch.tensor(answers, dtype=torch.long).reshape(count, more)
        tiled = {k: v.repeat(count, *[1] * (v.dim() - 1)) for k, v in self.inputs.items()}
        ids = torch.cat([tiled["input_ids"], tail], 1)
        types = torch.cat([tiled["token_type_ids"], torch.ones_like(tail)], 1)
        out = self.model(
            input_ids=ids,
            token_type_ids=types,
            attention_mask=torch.ones_like(ids),
            position_ids=torch.arange(1, ids.shape[1] + 1)[None].repeat(count, 1),
            pixel_values=tiled["pixel_values"],
        )
        return out.logits[:, -1].float()

    def seen(self, answer: list[int]):
        return torch.cat([self.prompt, torch.tensor([answer], dtype=torch.long)], 1)

    def answer(self, how: dict, limit: int, ends=(1,)) -> dict:
        """Token by token: drawn where there is a seed, else the highest. Ends with an end."""
        answer, log_probs, nearest = [], [], 1.0
        while len(answer) < limit and not (answer and answer[-1] in ends):
            logits = self.logits([answer])
            seen, all_of_it = self.seen(answer), {**how, "unknown": self.unknown}
            scores = processed(logits, seen, all_of_it)
            if "seed" in how:
                number = random_number(how["seed"], how.get("attempt", 0), len(answer))
                token, margin = drawn(scores, number)
                margin = min(margin, _threshold_margin(logits, seen, all_of_it))
            else:
                token = int(scores.argmax(-1))
                best = scores[0].topk(2).values
                margin = (best[0] - best[1]).item()
            nearest = min(nearest, margin)
            answer.append(token)
            log_probs.append(logits[0].double().log_softmax(-1)[token].item())
        return {**how, "ids": answer, "log_probs": log_probs, "margin": nearest}

    def beams(self, width: int, limit: int, ends: list[int]) -> dict:
        """big_vision's search."""
        live, ended, nearest = [([], 0.0)], None, 1.0
        for _ in range(limit):
            logits = self.logits([answer for answer, _ in live])
            full = logits.double().log_softmax(-1)
            logits[:, self.unknown] = -torch.inf  # of what is continued, not of the softmax
            for i, (answer, score) in enumerate(live):
                for end in ends:
                    whole = score + full[i, end].item()
                    if ended:
                        nearest = min(nearest, abs(whole - ended[1]))
                    if ended is None or whole > ended[1]:
                        ended = ([*answer, end], whole)
            options = []
            for i, (answer, score) in enumerate(live):
                for token in logits[i].topk(width + 2 + len(ends)).indices.tolist():
                    if token not in ends:
                        options.append(([*answer, token], score + full[i, token].item()))
            options.sort(key=lambda option: -option[1])
            gaps = [a[1] - b[1] for a, b in zip(options, options[1:])]
            # Which ones live on, not in which order.
            nearest = min(nearest, *gaps[width - 1 : width])
            live = options[:width]
            nearest = min(nearest, abs(live[0][1] - ended[1]))
            if live[0][1] < ended[1]:
                break
        return {"num_beams": width, "ids": ended[0], "score": ended[1], "margin": nearest}


def _threshold_margin(logits, seen, how: dict) -> float:
    """How far top-p is from keeping another set, in probability."""
    if how.get("top_p", 1.0) >= 1.0:
        return 1.0
    before = processed(logits, seen, {**how, "top_p": 1.0})
    sums = before[0].double().softmax(-1).sort().values.cumsum(-1)
    return (sums - (1 - how["top_p"])).abs().min().item()


def _fair(name: str, made: dict, margin: float) -> dict:
    if made["margin"] < margin:
        raise SystemExit(f"generation: {name} hangs on {made['margin']:.1e}: choose another seed")
    return {key: value for key, value in made.items() if key not in ("margin", "unknown")}


def _drawn(asked: Asked, how: dict, limit: int) -> dict:
    """With the first seed from `how`'s on whose draws are all clear."""
    for seed in range(how["seed"], how["seed"] + 20):
        made = asked.answer({**how, "seed": seed}, limit)
        if made["margin"] >= MARGIN:
            break
    return _fair(f"a draw with {how}", made, MARGIN)


def _asked(checkpoint: pathlib.Path, image: pathlib.Path, text: str) -> Asked:
    processor = AutoProcessor.from_pretrained(checkpoint)
    processor.image_processor = SiglipImageProcessorPil.from_pretrained(checkpoint)
    prepared = processor(text=text, images=Image.open(image), return_tensors="pt")
    model = load(checkpoint)
    known = max(processor.tokenizer.get_vocab().values()) + 1
    unknown = list(range(known, model.config.text_config.vocab_size))
    return Asked(model, inputs_of(dict(prepared)), unknown)


SAMPLED = (
    dict(temperature=1.0, seed=1),
    dict(temperature=0.7, top_k=40, seed=2),
    dict(temperature=1.5, top_p=0.9, seed=3),
    dict(temperature=0.9, top_k=200, top_p=0.8, repetition_penalty=1.2, seed=4),
    dict(temperature=1.0, top_k=3, seed=(1 << 63) + 5),
)


def _preset(folder: pathlib.Path) -> dict:
    asked = _asked(folder / "model", folder / "images" / IMAGE, TEXT)
    greedy = asked.answer({}, NEW_TOKENS)
    made = {"text": TEXT, "image": IMAGE, "greedy": _fair("greedy", greedy, 4e-3)}
    made["penalised"] = [
        _fair("penalty", asked.answer({"repetition_penalty": penalty}, NEW_TOKENS), 4e-3)
        for penalty in (1.3, 0.8)
    ]
    made["sampled"] = [_drawn(asked, how, NEW_TOKENS) for how in SAMPLED]
    # The end token is improbable with random weights: here another ends too, chosen so that the
    # search goes on for as long as it can. That is a few tokens, as all are about as improbable;
    # the demo model's searches are long.
    beams = [_beams(asked, greedy["ids"], width) for width in (2, 3, 5)]
    made["beams"] = [found for found in beams if found]
    if not made["beams"]:
        raise SystemExit("generation: no end suits any beams: choose another prompt")
    return made


def _beams(asked: Asked, greedy: list[int], width: int) -> dict | None:
    """The longest answer that an end gives; none if all hang on a rounding."""
    candidates = [*dict.fromkeys(greedy[2:]), *asked.logits([[]])[0].topk(60).indices.tolist()]
    best = None
    for stop in candidates:
        found = asked.beams(width, NEW_TOKENS, [1, stop])
        if found["margin"] >= BEAM_MARGIN and (
            best is None or len(found["ids"]) > len(best["ids"])
        ):
            best = {"stop_id": stop, **_fair("beams", found, BEAM_MARGIN)}
    return best


# How to draw, and how many beams. A caption of nine tokens is as greedy finds it, whatever the
# width; with half a prompt the model is unsure, and two beams find a more probable answer than
# greedy, of six tokens.
DEMO_ASKED = (
    (
        "scene10",
        "detect pig",
        [dict(temperature=1.0, seed=7), dict(temperature=3.0, seed=11)],
        (2, 3),
    ),
    ("scene03", "caption en", [dict(temperature=2.5, top_p=0.95, seed=5)], (2, 3, 5)),
    ("scene04", "caption", [], (2, 3)),
)


def _demo() -> list[dict]:
    requests = []
    for scene, text, hows, widths in DEMO_ASKED:
        asked = _asked(DEMO / "model", DEMO / "samples" / f"{scene}.png", text)
        requests.append(
            {
                "scene": scene,
                "text": text,
                "greedy": _fair("greedy", asked.answer({}, 64), 1e-4),
                "sampled": [_drawn(asked, how, 64) for how in hows],
                "beams": [
                    _fair(f"{scene} beams", asked.beams(width, 64, [1]), 2e-4)
                    for width in widths
                ],
            }
        )
    return requests


def _processors() -> dict:
    """Logits of a small vocabulary, ties among them, and what is made of them."""
    generator = torch.Generator().manual_seed(5)
    logits = (torch.randn(1, 300, generator=generator) * 3).half().float()
    logits[0, 40:44] = logits[0].topk(12).values[-1]  # the twelfth of all, four times more
    seen = torch.tensor([[3, 40, 41, 200, 3, 299]])
    cases = []
    for how in (
        dict(),
        dict(temperature=0.6),
        dict(repetition_penalty=1.4),
        dict(top_k=1),
        dict(top_k=12),
        dict(top_k=1000),
        dict(top_p=0.5),
        dict(top_p=0.01),
        dict(temperature=1.7, top_k=50, top_p=0.9, repetition_penalty=0.7),
    ):
        scores = processed(logits, seen, how)
        assert _threshold_margin(logits, seen, how) > MARGIN, how
        kept = (scores[0] > -torch.inf).nonzero().flatten()
        probabilities = scores[0].double().softmax(-1)[kept]
        numbers, ids = [], []
        for step in range(8):
            number = random_number(9, 0, step)
            token, margin = drawn(scores, number)
            if margin > MARGIN:
                numbers.append(number)
                ids.append(token)
        cases.append(
            {
                **how,
                "kept": kept.tolist(),
                "probabilities": [round(p, 9) for p in probabilities.tolist()],
                "numbers": numbers,
                "drawn": ids,
            }
        )
    return {"logits": logits[0].tolist(), "seen": seen[0].tolist(), "cases": cases}


def build(fixtures: pathlib.Path, out: pathlib.Path) -> None:
    """Fills `out`, a folder that is not there yet, from the presets in `fixtures`."""
    out.mkdir(parents=True)
    numbers = [
        {"seed": str(seed), "attempt": attempt, "step": step, "number": number}
        for seed in (0, 1, 42, MASK)
        for attempt, step in ((0, 0), (0, 1), (0, 1000), (1, 0), (3, 7))
        for number in [random_number(seed, attempt, step)]
    ]
    dump(out / "numbers.json", numbers, indent=1)
    dump(out / "processors.json", _processors(), indent=None)
    dump(out / "demo.json", _demo(), indent=None)
    for name in PRESETS:
        dump(out / f"{name}.json", _preset(fixtures / name), indent=None)
