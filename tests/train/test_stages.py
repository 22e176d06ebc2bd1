"""Stages: merged between, each resumed by itself; methods and parts do what they say; bases that are not trusted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, Gemma3Config, Idefics3Config, Qwen2_5_VLConfig, Qwen3VLConfig

from data_pipeline.withdraw import find_checkpoints
from spinemed.errors import ConfigError, ModelError, RecordError, RunError
from spinemed.records import ReleaseRow
from spinemed.run import Run
from spinemed.tables import read_manifest, read_records, write_manifest, write_records
from spinemed.vlm.layout import Layout
from spinemed.vlm.load import checkpoint_hash, load_model, load_pair
from train.config import LoraSettings, PartRates, StageSchedule, TrainConfig
from train.parts import adapter_targets, part_of, parts_of, rate_groups
from train.plan import Mixture, plan_stage
from train.rows import TrainingRows, read_release
from train.run import run_training
from train.stages import _with_features, read_mixture
from train.trainer import _language_only

QUICK = {"steps": 3, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "save_every": 2, "log_every": 1}
WHOLE = "model.safetensors"


def stage(name: str = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "mixture": [{"release": "main"}], "schedule": QUICK, "max_tokens": 96, **more}


def job(base: Path, release: Path, *stages: dict[str, Any], **more: Any) -> TrainConfig:
    own: dict[str, Any] = {"base": base, "releases": {"main": release}, "stages": stages or (stage(),), "threads": 1}
    return TrainConfig.model_validate({**own, "logs": {"tensorboard": False}, **more})


def events(out: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in events(out, "metrics") if "loss" in line]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WHOLE)


def test_stages_start_from_the_merged_model_before_and_resume_by_themselves(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    config = job(micro_base, micro_release, stage("one"), stage("two", method="rslora", schedule={**QUICK, "steps": 2}))
    out = tmp_path / "run"
    model = run_training(config, out)
    assert model == out / "outputs" / "model"
    names = {path.name for path in (out / "outputs").iterdir()}
    assert names == {"one_adapter", "one_model", "adapter", "model"}
    first = read_manifest(out / "outputs" / "one_model", "checkpoint", verify=True)
    last = read_manifest(out / "outputs" / "model", "checkpoint", verify=True)
    assert last["base_sha256"] == first["sha256"]
    assert first["release_sha256"] == read_manifest(micro_release, "release")["sha256"]
    between = weights(out / "outputs" / "one_model")
    assert any(not torch.equal(tensor, between[name]) for name, tensor in weights(model).items())
    ledger = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["steps"], line["processes"]) for line in ledger] == [("one", 3, 1), ("two", 2, 1)]
    assert all(line["tokens"] > 0 and line["seconds"] > 0 for line in ledger)

    # As a kill in the second stage would leave it: the first one is kept as it is.
    before = {name: (model / name).read_bytes() for name in (WHOLE, "manifest.json")}
    for name in ("adapter", "model"):
        shutil.rmtree(out / "outputs" / name)
    run_training(config, out)
    assert {name: (model / name).read_bytes() for name in before} == before
    ledger = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in ledger] == ["one", "two", "two"]


@pytest.mark.parametrize(
    "more",
    [
        {"method": "dora"},
        {"method": "rslora"},
        {"lora": {"rank": 4, "modules_to_save": ["merger"]}},
        {"parts": {"vision": "train", "projector": 0.003, "language": "frozen"}},
    ],
)
def test_adapters_of_every_kind_merge_to_their_own_logits(
    micro_base: Path, micro_release: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    model = run_training(job(micro_base, micro_release, stage(**more)), tmp_path / "run")
    _, processor = load_pair(micro_base)
    layout = Layout(processor, max_tokens=200)
    rows = TrainingRows(read_release(micro_release, "train")[0], layout)
    batch = layout.collate([rows[number] for number in range(6)], training=True)
    batch.pop("labels")
    with torch.inference_mode():
        kept = load_model(model.parent / "adapter", merge=False)(**batch).logits
        merged = load_model(model)(**batch).logits
        untrained = load_model(micro_base)(**batch).logits
    assert torch.allclose(kept, merged, atol=1e-4)
    assert not torch.allclose(kept, untrained, atol=1e-3)


def test_full_training_moves_the_parts_that_train_and_no_others(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    parts = {"vision": "frozen", "projector": 0.02, "language": 1e-3}
    model = run_training(job(micro_base, micro_release, stage(method="full", parts=parts)), tmp_path / "run")
    before, after = weights(micro_base), weights(model)
    moved = {part_of(name) for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == {"projector", "language"}
    planned = events(tmp_path / "run", "planned")[0]["parameters"]
    assert planned["vision"]["trained"] == 0 < planned["projector"]["trained"] == planned["projector"]["all"]


def test_parts_have_rates_of_their_own(micro_base: Path) -> None:
    model = load_model(micro_base)
    parts = PartRates.model_validate({"vision": 1e-6, "projector": 1e-4, "language": "train"})
    groups = rate_groups(
        model, parts, rate=1e-5, weight_decay=0.1, decays=[name for name, _ in model.named_parameters()]
    )
    found = {group["lr"]: sum(weight.numel() for weight in group["params"]) for group in groups}
    names = parts_of(model)
    assert found == {
        rate: sum(model.get_parameter(name).numel() for name in names[part])
        for part, rate in (("vision", 1e-6), ("projector", 1e-4), ("language", 1e-5))
    }


TEXT = {
    "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "intermediate_size": 32, "vocab_size": 64, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
TOWER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32}
QWEN = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32, "patch_size": 8}


@pytest.mark.parametrize(
    ("config", "projector", "language"),
    [
        (Qwen2_5_VLConfig(text_config=TEXT, vision_config=QWEN), "visual.merger", "language_model.layers"),
        (
            Qwen3VLConfig(text_config=TEXT, vision_config={**QWEN, "deepstack_visual_indexes": [0]}),
            "visual.deepstack_merger_list",
            "language_model.layers",
        ),
        (
            Idefics3Config(
                text_config={**TEXT, "model_type": "llama"}, vision_config={**TOWER, "patch_size": 8}, image_token_id=5
            ),
            "connector",
            "text_model.layers",
        ),
        (
            Gemma3Config(
                text_config=TEXT,
                vision_config={**TOWER, "patch_size": 8, "model_type": "siglip_vision_model"},
                mm_tokens_per_image=4,
            ),
            "multi_modal_projector",
            "language_model.layers",
        ),
    ],
    ids=["qwen2_5_vl", "qwen3_vl", "idefics3", "gemma3"],
)
def test_parts_of_every_family_are_found(config: Any, projector: str, language: str) -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    names = parts_of(model)
    assert sum(map(len, names.values())) == len(list(model.named_parameters()))
    assert any(projector in name for name in names["projector"])
    assert any(language in name for name in names["language"])
    assert all("vis" in name for name in names["vision"])
    targets = adapter_targets(model, PartRates(), LoraSettings())
    assert language.replace(".", r"\.") in targets
    assert "lm_head" not in targets
    assert "vis" not in targets


def test_a_model_of_unknown_parts_is_refused() -> None:
    with pytest.raises(ModelError, match="vision and projector"):
        parts_of(torch.nn.Linear(2, 2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine can")
def test_what_needs_a_gpu_is_refused_clearly_without(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="qlora needs a CUDA GPU"):
        run_training(job(micro_base, micro_release, stage(method="qlora")), tmp_path / "run")
    with pytest.raises(ConfigError, match="no CUDA device"):
        run_training(job(micro_base, micro_release, attention="flash_attention_2"), tmp_path / "flash")


def test_modules_to_save_that_cannot_be_are_refused(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    for name, message in (("no_such", "names no module"), ("lm_head", "shares its weights")):
        config = job(micro_base, micro_release, stage(lora={"modules_to_save": [name]}))
        with pytest.raises(ConfigError, match=message):
            run_training(config, tmp_path / name)


def test_an_adapter_that_learned_nothing_is_not_saved(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    nothing = {**QUICK, "steps": 1}  # the only step stands at the foot of the warm-up, at rate 0
    with pytest.raises(RunError, match="holds nothing"):
        run_training(job(micro_base, micro_release, stage(schedule=nothing)), tmp_path / "run")
    assert not (tmp_path / "run" / "outputs" / "adapter").exists()


def test_packed_cached_and_recomputed_training_are_the_same_training(
    micro_base: Path, micro_release: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    run_training(job(micro_base, micro_release, stage()), plain)
    for name, more in (("cached", {"feature_cache": {}}), ("recomputed", {"gradient_checkpointing": True})):
        run_training(job(micro_base, micro_release, stage(**more)), tmp_path / name)
        assert losses(tmp_path / name) == pytest.approx(losses(plain), rel=1e-5), name
    assert events(tmp_path / "cached", "features")[0]["computed"] > 0

    packed = {**QUICK, "batch_size": 1, "global_batch_size": 2}
    model = run_training(job(micro_base, micro_release, stage(packing="packed", schedule=packed)), tmp_path / "packed")
    told = events(tmp_path / "packed", "packing")[0]
    assert "packed = alone" in told["reason"]
    plan = json.loads((tmp_path / "packed" / "plans" / "one.json").read_bytes())
    assert (plan["steps"], plan["per_step"], len(plan["bins"]["rows"])) == (3, 2, 6)
    assert max(plan["bins"]["tokens"]) <= 96
    assert read_manifest(model.parent / "adapter", "adapter")["packing"] == "packed"


def test_mixtures_draw_by_weight_and_filter(micro_base: Path, micro_release: Path, tmp_path: Path) -> None:
    tagged = tmp_path / "tagged"
    shutil.copytree(micro_release, tagged)
    file = tagged / "data" / "train.parquet"
    rows = [
        row.model_copy(update={"tags": (f"difficulty:{number % 5}", "hard" if number % 2 else "easy")})
        for number, row in enumerate(read_records(file, ReleaseRow))
    ]
    write_records(file, ReleaseRow, rows)
    write_manifest(tagged, "release")
    shares = [{"release": "main", "weight": 0.5}, {"release": "more", "weight": 2, "tags": ["hard"]}]
    own = stage(mixture=shares, schedule={**{k: v for k, v in QUICK.items() if k != "steps"}, "epochs": 1})
    config = job(micro_base, micro_release, own, releases={"main": micro_release, "more": tagged})
    found = read_mixture(config, config.stages[0])
    assert found.counts == {"main": 24, "more": 12}
    run_training(config, tmp_path / "run")
    plan = json.loads((tmp_path / "run" / "plans" / "one.json").read_bytes())
    drawn = np.bincount(plan["rows"], minlength=36)
    assert drawn[:24].sum() == 12
    assert (drawn[24:] == 2).all()
    held = read_manifest(tagged, "release")["sha256"]
    assert set(find_checkpoints({held}, [tmp_path / "run"]).values()) == {held}
    empty = job(micro_base, tagged, stage(mixture=[{"release": "main", "tags": ["no"]}]))
    with pytest.raises(RecordError, match="names no row"):
        run_training(empty, tmp_path / "empty")

    easy = stage(curriculum="difficulty", schedule={**QUICK, "steps": 6})
    run_training(job(micro_base, tagged, easy), tmp_path / "easy")
    order = json.loads((tmp_path / "easy" / "plans" / "one.json").read_bytes())["rows"]
    assert [number % 5 for number in order] == sorted(number % 5 for number in range(24))
    with pytest.raises(RecordError, match="has no tag difficulty:N"):
        run_training(job(micro_base, micro_release, easy), tmp_path / "untagged")


def test_plans_know_steps_and_not_processes() -> None:
    lengths = np.random.default_rng(0).integers(5, 50, 40).tolist()
    mixture = Mixture(np.zeros(40, int), (1.0,), 0)
    for packing in ("padded", "grouped", "packed"):
        size = 1 if packing == "packed" else 2
        plans = [
            plan_stage(
                lengths, mixture, StageSchedule(batch_size=batch, global_batch_size=4, epochs=2), packing=packing,
                seed=1, capacity=64,
            )
            for batch in (size, 4)
        ]  # fmt: skip
        assert plans[0].sha256 == plans[1].sha256
    rows = plan_stage(lengths, mixture, StageSchedule(batch_size=4, epochs=2), packing="padded", seed=1)
    assert rows.order is not None
    assert sorted(np.bincount(rows.order)) == [2] * 40
    budget = plan_stage(lengths, mixture, StageSchedule(batch_size=4, tokens=500), packing="padded", seed=1)
    assert budget.order is not None
    assert sum(lengths[row] for row in budget.order[:-4]) < 500 <= budget.tokens


def test_a_share_of_one_and_a_half_takes_the_other_half_in_the_next_pass() -> None:
    mixture = Mixture(np.repeat([0, 1], 20), (1.5, 0.25), 3)
    passes = [np.bincount(mixture.draw(number), minlength=40) for number in range(4)]
    assert all(drawn[:20].sum() == 30 and drawn[20:].sum() == 5 for drawn in passes)
    assert (passes[0][:20] + passes[1][:20] == 3).all()
    assert (sum(drawn[20:] for drawn in passes) == 1).all()


def test_a_small_share_of_few_rows_is_drawn_from_and_passes_are_counted_exactly() -> None:
    mixture = Mixture(np.repeat([0, 1], [20, 3]), (1.0, 0.1), 0)
    drawn = sum(np.bincount(mixture.draw(number), minlength=23) for number in range(3))
    assert drawn[20:].tolist() == [1, 1, 1]
    plan = plan_stage(
        [5] * 10, Mixture(np.zeros(10, int), (1.0,), 0), StageSchedule(batch_size=1, epochs=1.1), packing="padded",
        seed=0,
    )  # fmt: skip
    assert plan.steps == 11


def test_features_are_computed_where_the_model_will_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tower(model: torch.nn.Module, processor: Any) -> None:
        raise ValueError(next(model.parameters()).device.type)

    monkeypatch.setattr("train.features.FrozenTower", tower)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: "meta")
    config = job(tmp_path, tmp_path, stage(feature_cache={}))
    with pytest.raises(ValueError, match="meta"):
        _with_features(config, config.stages[0], Run(tmp_path), torch.nn.Linear(1, 1), None, None, None)


def test_what_trains_outside_the_language_model_is_seen_by_its_weights(micro_base: Path) -> None:
    model = load_model(micro_base)
    for name, weight in model.named_parameters():
        weight.requires_grad_("language_model" in name)
    assert _language_only(model, PartRates())
    model.get_parameter(next(name for name, _ in model.named_parameters() if "merger" in name)).requires_grad_(True)
    assert not _language_only(model, PartRates())


def test_pickled_weights_and_code_need_a_named_revision(micro_base: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(micro_base, pickled)
    torch.save(load_file(pickled / WHOLE), pickled / "pytorch_model.bin")
    (pickled / WHOLE).unlink()
    with pytest.raises(ModelError, match="pickled"):
        load_model(pickled)
    with pytest.raises(ModelError, match="is not revision"):
        load_model(pickled, revision="0" * 40)
    assert load_model(pickled, revision=checkpoint_hash(pickled)) is not None

    coded = tmp_path / "coded"
    shutil.copytree(micro_base, coded)
    values = json.loads((coded / "config.json").read_bytes())
    ran = tmp_path / "ran"
    (coded / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    values |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.Own"}}
    (coded / "config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(coded)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage(schedule={"batch_size": 4})], "exactly one of steps, epochs and tokens"),
        ([stage(schedule={**QUICK, "global_batch_size": 6})], "no multiple of batch_size"),
        ([stage(), stage()], "two stages have one name"),
        ([stage(mixture=[{"release": "other"}])], "which `releases` lacks"),
        ([stage(parts={"language": "frozen"})], "every part is frozen"),
        ([stage(packing="packed")], "batch_size: 1"),
        ([stage(feature_cache={}, parts={"vision": "train"})], "needs vision and projector frozen"),
    ],
)
def test_configs_that_contradict_themselves_are_refused(stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job(Path("base"), Path("release"), *stages)
