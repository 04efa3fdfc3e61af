"""`tests/fixtures/lora`: what PEFT makes of a checkpoint and a LoRA adapter.

Every adapter is saved by PEFT, loaded again by PEFT and merged with `merge_and_unload` into the
checkpoint of a fixture, in the type its weights are stored in. The merged weights then run in
f32, as everywhere.

Numbers in the adapters are multiples of 1/64, so that the sums in B·A are exact in f32 in any
order: merged weights are the same to the bit on every machine.
"""

import json
import pathlib

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PaliGemmaForConditionalGeneration

from . import synthetic
from .running import INPUTS, NEW_TOKENS, load, top_gaps

STEP = 1 / 64
# As in `cases.py`: no rounding decides a token.
GAP = 0.004

# By the fixture they are for. `saved` is the type of the adapter's numbers; `rows` are the
# matrices of which the first rows are kept, by their names in the Hub's layout.
ADAPTERS = {
    # bf16 weights in transformers 5's layout, in shards.
    "pg2_gqa": dict(
        seed=3,
        saved=torch.float32,
        config=dict(
            r=4,
            lora_alpha=6,
            target_modules=["q_proj", "v_proj", "gate_proj", "fc1"],
        ),
        rows=[
            "language_model.model.layers.0.self_attn.q_proj.weight",
            "language_model.model.layers.3.mlp.gate_proj.weight",
            "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight",
            "language_model.model.layers.1.mlp.down_proj.weight",
        ],
    ),
    # rsLoRA, ranks and alphas of their own by name and by expression, modules by expression.
    "pg2_odd": dict(
        seed=2,
        saved=torch.bfloat16,
        config=dict(
            r=3,
            lora_alpha=2,
            use_rslora=True,
            target_modules=r"^(?!.*multi_modal_projector).*\.(q_proj|o_proj|out_proj|down_proj)$",
            rank_pattern={"layers.1.self_attn.q_proj": 5, r".*\.(o|out)_proj": 2},
            alpha_pattern={"down_proj": 7.5, r"^model\.vision_tower\..*": 4},
        ),
        rows=[
            "language_model.model.layers.0.self_attn.q_proj.weight",
            "language_model.model.layers.1.self_attn.q_proj.weight",
            "language_model.model.layers.1.self_attn.o_proj.weight",
            "language_model.model.layers.0.mlp.down_proj.weight",
            "vision_tower.vision_model.encoder.layers.0.self_attn.out_proj.weight",
            "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
            "multi_modal_projector.linear.weight",
        ],
    ),
    # Every linear layer, the projector among them; PaliGemma 1.
    "pg1_mqa": dict(
        seed=2,
        saved=torch.float16,
        config=dict(r=2, lora_alpha=3, target_modules="all-linear"),
        rows=[
            "multi_modal_projector.linear.weight",
            "language_model.model.layers.0.self_attn.k_proj.weight",
            "vision_tower.vision_model.encoder.layers.0.mlp.fc2.weight",
        ],
    ),
}
ROWS = 5


def _base(fixture: pathlib.Path):
    """In the type it is stored in."""
    return PaliGemmaForConditionalGeneration.from_pretrained(
        fixture / "model", dtype="auto", attn_implementation="eager"
    ).eval()


def _write(name: str, adapter: dict, fixture: pathlib.Path, folder: pathlib.Path) -> None:
    """Saves the adapter, with numbers from a hash of its seed and their names."""
    model = get_peft_model(_base(fixture), LoraConfig(**adapter["config"]))
    for key, parameter in model.named_parameters():
        if ".lora_" in key:
            values = synthetic.normal(adapter["seed"], key, tuple(parameter.shape), 0.0, 0.1)
            values = torch.from_numpy(values).div(STEP).round().mul(STEP)
            parameter.data = values.to(adapter["saved"])
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    config["base_model_name_or_path"] = f"fixtures/{name}"
    if isinstance(config["target_modules"], list):
        # PEFT keeps a set of them, in another order each time.
        config["target_modules"].sort()
    file.write_text(json.dumps(config, indent=2) + "\n")


def _merged(fixture: pathlib.Path, folder: pathlib.Path):
    model = PeftModel.from_pretrained(_base(fixture), folder).eval()
    return model.merge_and_unload()


def _hub_name(name: str) -> str:
    name = name.removeprefix("model.")
    if name.startswith("language_model."):
        return "language_model.model." + name.removeprefix("language_model.")
    if name.startswith("vision_tower.") and "vision_model" not in name:
        return "vision_tower.vision_model." + name.removeprefix("vision_tower.")
    return name


def _answers(model, single: dict) -> dict:
    inputs = {key: single[key] for key in INPUTS}
    out = model.generate(
        **inputs,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    gap = top_gaps(torch.stack(out.logits, 1).float()).min().item()
    if gap < GAP:
        raise SystemExit(f"two tokens are {gap:.4f} apart: choose another seed")
    prompt = inputs["input_ids"].shape[1]
    return {
        "logits_last": model(**inputs).logits[:, -1],
        "generated_ids": out.sequences[:, prompt:],
    }


def build(fixtures: pathlib.Path, out: pathlib.Path) -> None:
    """Fills `out` from the fixtures that there are adapters for."""
    for name, adapter in ADAPTERS.items():
        fixture, folder = fixtures / name, out / name
        (folder / "expected").mkdir(parents=True)
        _write(name, adapter, fixture, folder)
        single = load_file(fixture / "expected" / "single.safetensors")
        merged = _merged(fixture, folder)
        tensors = {}
        for key, parameter in merged.named_parameters():
            if _hub_name(key) in adapter["rows"]:
                tensors["rows." + _hub_name(key)] = parameter.data[:ROWS]
        assert len(tensors) == len(adapter["rows"])
        # `merged.float()` would keep what else there was in bf16, such as the embedding's scale.
        model = load(fixture / "model")
        base = model(**{key: single[key] for key in INPUTS}).logits[:, -1]
        model.load_state_dict(merged.state_dict())
        tensors |= _answers(model, single)
        # The adapter says something else than its base.
        assert (tensors["logits_last"] - base).abs().max() > 1.0
        tensors = {key: tensor.contiguous().clone() for key, tensor in tensors.items()}
        save_file(tensors, folder / "expected" / "merged.safetensors")
