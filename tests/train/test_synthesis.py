"""Training of synthesisers: every loss term teaches, only healthy bodies are targets, a killed run ends the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.config import load_config
from spinemed.errors import ConfigError, RecordError, RunError
from spinemed.run import Run
from spinemed.vertebra.synthesis import read_synthesiser
from spinemed.vertebra.synthesis.generator_net import Generator, GeneratorConfig
from spinemed.vertebra.synthesis.spine_shapes import SLOTS
from spinemed.volume import Volume, write_nifti
from train.synthesis.completer import completer_samples
from train.synthesis.generator import (
    GeneratorWeights,
    batch_of,
    build_discriminators,
    generator_losses,
    judge_loss,
    soft_edges,
)
from train.synthesis.loop import Pace, train_loop
from train.synthesis.spines import CaseGrades, PhantomSpines, graded_cases, phantom_pair, read_grades
from train.synthesis.synthesiser import SynthesisConfig, _make, run_synthesis

LEVELS = (Level.T11, Level.T12, Level.L1, Level.L2, Level.L3, Level.L4)
TERMS = {
    "image_coarse", "image_fine", "body", "near", "edge", "height_coarse", "height_fine",
    "adversarial_picture", "adversarial_body", "adversarial_local",
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> GeneratorConfig:
    return GeneratorConfig(width=4, discriminator_width=4, classifier_width=4, slices_per_plane=2)


def slices(config: GeneratorConfig, count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Random slices with a bright block of a random height in the band."""
    random = np.random.default_rng(seed)
    shape = (count, *config.slice_vox)
    picture = random.integers(80, 160, size=shape).astype(np.uint8)
    body = np.zeros(shape, dtype=np.uint8)
    height = random.uniform(18, 26, size=count).astype(np.float32)
    for row, tall in enumerate(height):
        half = round(float(tall) / config.spacing_mm / 2)
        body[row, 12:36, 36 - half : 36 + half] = 255
    near = np.zeros(shape, dtype=np.uint8)
    near[:, 12:36, :18] = 255
    return {
        "picture": picture, "body": body, "near": near, "height": height,
        "ratio": random.random(count).astype(np.float32), "plane": (np.arange(count) % 2).astype(np.float32),
        "broken": (np.arange(count) % 2).astype(np.int64),
    }  # fmt: skip


def batch(config: GeneratorConfig, count: int) -> dict[str, torch.Tensor]:
    samples = slices(config, count)
    attention = np.full(samples["picture"].shape, 255, dtype=np.uint8)
    return batch_of(samples, np.arange(count), config, attention, "cpu")


def test_every_loss_term_reaches_the_generator(tiny: GeneratorConfig) -> None:
    torch.manual_seed(0)
    generator, judges, given = Generator(tiny), build_discriminators(tiny), batch(tiny, 3)
    outputs = generator(given["masked"], given["ratio"], given["plane"], given["attention"])
    terms = generator_losses(outputs, given, judges, GeneratorWeights())
    assert set(terms) == TERMS
    for name, term in terms.items():
        grads = torch.autograd.grad(term, list(generator.parameters()), retain_graph=True, allow_unused=True)
        size = sum(float(each.abs().sum()) for each in grads if each is not None)
        assert np.isfinite(size), name
        assert size > 1e-6, name
    # The fine terms must move the coarse network too, which feeds it.
    coarse = torch.autograd.grad(terms["edge"], list(generator.coarse.parameters()), allow_unused=True)
    assert sum(float(each.abs().sum()) for each in coarse if each is not None) > 0


def test_judges_learn_without_the_generator(tiny: GeneratorConfig) -> None:
    torch.manual_seed(0)
    generator, judges, given = Generator(tiny), build_discriminators(tiny), batch(tiny, 2)
    outputs = generator(given["masked"], given["ratio"], given["plane"], given["attention"])
    judge_loss(outputs, given, judges).backward()
    assert all(each.grad is None for each in generator.parameters())
    for name, judge in judges.items():
        assert sum(float(each.grad.abs().sum()) for each in judge.parameters() if each.grad is not None) > 0, name


def test_the_batch_size_changes_no_weight(tiny: GeneratorConfig) -> None:
    torch.manual_seed(0)
    generator, judges, given = Generator(tiny).eval(), build_discriminators(tiny).eval(), batch(tiny, 2)

    def losses(part: dict[str, torch.Tensor]) -> dict[str, float]:
        with torch.no_grad():
            outputs = generator(part["masked"], part["ratio"], part["plane"], part["attention"])
            terms = generator_losses(outputs, part, judges, GeneratorWeights())
        return {name: float(term) for name, term in terms.items()}

    whole = losses(given)
    halves = [losses({name: each[row : row + 1] for name, each in given.items()}) for row in (0, 1)]
    for name in TERMS:
        assert whole[name] == pytest.approx((halves[0][name] + halves[1][name]) / 2, rel=1e-4), name


def test_soft_edges_lie_at_edges() -> None:
    body = torch.zeros(1, 1, 16, 16)
    body[..., 4:12, 4:12] = 1.0
    edges = soft_edges(body)[0, 0]
    assert float(edges[8, 8]) < 0.01 < 0.9 < float(edges[8, 4])


def test_slices_hide_the_target_and_show_it_healthy(tiny: GeneratorConfig) -> None:
    given = batch(tiny, 4)
    inside = given["band"] > 0
    assert not given["masked"][inside].any()
    assert given["picture"][inside].any()
    tall = given["shown"].sum(dim=3)[:, 0, 0] * tiny.spacing_mm
    assert torch.allclose(tall, given["height"], atol=2 * tiny.spacing_mm)


class Killed(Exception):
    pass


def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    def trained(folder: Path, stop: int | None, lost: bool = False) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 1)
        optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
        run = Run(folder)
        folder.mkdir(exist_ok=True)

        def step(number: int, rate: float) -> dict[str, float]:
            if number == stop:
                raise Killed
            given = torch.from_numpy(np.random.default_rng([5, number]).normal(size=(4, 3)).astype(np.float32))
            loss = (net(given) - given.sum(dim=1, keepdim=True)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()
            return {"loss": float(loss.detach())}

        def evaluate() -> dict[str, float]:
            return {"far": float("nan")} if lost else {"far": float((net.weight.detach() - 1).abs().sum())}

        pace = Pace(steps=20, learning_rate=0.1, evaluate_every=3, save_every=4, log_every=5)
        return train_loop(
            run, "test", parts={"net": net, "optimiser": optimiser}, chosen=net, pace=pace, key="k", step=step,
            evaluate=evaluate, score="far",
        ).best  # fmt: skip

    with pytest.raises(RunError, match="the validation score is no number after step 3"):
        trained(tmp_path / "lost", None, lost=True)
    whole = trained(tmp_path / "whole", None)
    with pytest.raises(Killed):
        trained(tmp_path / "killed", 14)
    again = trained(tmp_path / "killed", None)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    events = [json.loads(line) for line in (tmp_path / "killed" / "journal.jsonl").read_text().splitlines()]
    assert [event["checkpoint"] for event in events if event["event"] == "resumed"] == ["checkpoint-12"]


def test_a_phantom_and_its_twin_give_healthy_targets() -> None:
    config = PhantomSpines(count=1, seed=401, fields={"lumbar": 1.0}, spacing_mm=2.0, multiple_share=0.0)
    pair = phantom_pair(config, 0, image=False)
    assert pair.broken
    samples = completer_samples(pair)
    assert samples["shapes"].shape[1] == len(SLOTS)
    assert samples["beside"].any()
    assert not samples["beside"].all()
    # The broken body itself is a target as its twin has it, and taller there than the patient's.
    assert (samples["goal_thirds"] > 8).all()
    level = pair.broken[0]
    assert pair.healthy.crops[level].body.sum() > 1.02 * pair.now.crops[level].body.sum()


def patients(folder: Path, count: int) -> Path:
    """Small scans in VerSe's layout: oval bodies with CT; in every second one a neighbour is half as high."""
    lines = ["case,level,grade,split"]
    for case in range(count):
        heights = [18.0, 19, 20, 21, 22, 23]
        broken = case % 2 == 0
        if broken:
            heights[2] *= 0.55
        _write_scan(folder, f"sub-verse{500 + case}", heights, seed=case)
        split = ("train", "train", "validation", "test")[case]
        lines += [
            f"sub-verse{500 + case},{level},{3 if broken and level is Level.L1 else 0},{split}" for level in LEVELS
        ]
    grades = folder / "grades.csv"
    grades.write_text("\n".join(lines) + "\n")
    return grades


def _write_scan(folder: Path, name: str, heights: list[float], seed: int) -> None:
    step, random = 2.0, np.random.default_rng(seed)
    shape = (36, 34, round((sum(heights) + 7 * len(heights) + 50) / step))
    affine = np.diag([step, step, step, 1.0])
    x, y, z = (step * np.arange(size) for size in shape)
    oval = ((x[:, None] - 35) / 22) ** 2 + ((y[None] - 33) / 16) ** 2 <= 1
    labels = np.zeros(shape, dtype=np.uint8)
    low = 25.0
    for level, tall in reversed(list(zip(LEVELS, heights, strict=True))):
        rows = (z >= low) & (z < low + tall)
        labels[:, :, rows] = np.where(oval[:, :, None], LABEL_MAPS["verse"].to_label(level), 0)
        low += tall + 7
    hu = np.where(labels > 0, 200, -60) + random.normal(0, 15, size=shape)
    for part, file, data in (
        ("rawdata", f"{name}_ct", hu.astype(np.int16)), ("derivatives", f"{name}_seg-vert_msk", labels),
    ):  # fmt: skip
        place = folder / part / name
        place.mkdir(parents=True)
        write_nifti(Volume(data, affine), place / f"{file}.nii.gz")


def job(folder: Path, grades: Path, kind: str, **changes: Any) -> SynthesisConfig:
    pace = {"steps": 6, "batch_size": 4, "evaluate_every": 3, "save_every": 2, "log_every": 2}
    return SynthesisConfig.model_validate({
        "kind": kind, "data": [folder], "grades": grades, "origin": "oval test bodies", "threads": 1,
        "completer": {"components": 4, "hidden": 8},
        "generator": {"width": 4, "discriminator_width": 4, "classifier_width": 4, "slices_per_plane": 2},
        "pace": pace, "classifier_pace": {**pace, "steps": 2, "evaluate_every": 1}, **changes,
    })  # fmt: skip


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("scans")
    return folder, patients(folder, 4)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", ["completer", "generator"])
def test_graded_scans_become_a_model_that_is_read_and_exported(
    kind: str, scans: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = job(*scans, kind)
    whole = run_synthesis(config, tmp_path / "whole")
    # Killed in the middle of training, and gone on with: the same files.
    import train.synthesis.loop as loop

    real, calls = loop._save, []

    def once(*arguments: Any) -> None:
        real(*arguments)
        calls.append(arguments)
        if len(calls) == 2:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_save", once)
        with pytest.raises(Killed):
            run_synthesis(config, tmp_path / "killed")
    again = run_synthesis(config, tmp_path / "killed")
    assert files(whole) == files(again)
    card = json.loads((whole / "card.json").read_bytes())
    assert card["patients"] == 3  # the fourth is in the test split
    assert "no evidence about patients" in card["note"]
    assert card["validation"]["dice"] > 0
    assert "oval test bodies" in read_synthesiser(whole).name
    _same_as_onnx(whole, kind)


def _same_as_onnx(folder: Path, kind: str) -> None:
    runtime = pytest.importorskip("onnxruntime")
    synthesiser: Any = read_synthesiser(folder)
    session = runtime.InferenceSession(str(folder / f"{kind}.onnx"), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    count = 3  # not the number that it was exported with
    if kind == "completer":
        net = synthesiser.net
        given = {
            "shapes": random.normal(10, 3, size=(count, len(SLOTS), net.mean.shape[1])).astype(np.float32),
            "thirds": random.uniform(15, 25, size=(count, len(SLOTS), 3)).astype(np.float32),
            "levels": random.integers(-1, 15, size=(count, len(SLOTS))),
            "course": np.array([[20, 21, 22, 1, 1, 1]] * count, dtype=np.float32),
            "target": np.array([3, 8, 12]),
        }
    else:
        net = synthesiser.nets.generator
        given = {
            "masked": random.uniform(-1, 1, size=(count, 1, 48, 72)).astype(np.float32),
            "ratio": random.random(count).astype(np.float32), "plane": np.array([0, 1, 0], dtype=np.float32),
            "attention": random.random((count, 1, 48, 72)).astype(np.float32),
        }  # fmt: skip
    with torch.inference_mode():
        ours = net(*(torch.from_numpy(each) for each in given.values()))
    theirs = session.run(None, given)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one.numpy() - other).max() < 1e-4 * max(1.0, float(np.abs(other).max()))


def test_only_grade_0_outside_the_test_split_is_learned_from(scans: tuple[Path, Path], tmp_path: Path) -> None:
    grades = read_grades(scans[1])
    assert "sub-verse503" not in grades
    assert grades["sub-verse500"].grades[Level.L1] == 3
    lines = scans[1].read_text().splitlines()
    both = tmp_path / "both.csv"
    both.write_text("\n".join([*lines, "sub-verse500,T10,0,validation"]) + "\n")
    with pytest.raises(RecordError, match="two splits"):
        read_grades(both)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("case,level,grade\nsub-verse500,L1,4\n")
    with pytest.raises(RecordError, match="grade 4") as told:
        read_grades(wrong)
    assert told.value.line == 2
    for grade in ("1.7", "inf"):
        wrong.write_text(f"case,level,grade\nsub-verse500,L1,{grade}\n")
        with pytest.raises(RecordError, match=f"grade {grade}"):
            read_grades(wrong)
    both.write_text("\n".join([*lines, "sub-verse500,T10,0,test"]) + "\n")
    with pytest.raises(RecordError, match="is in train and in test"):
        read_grades(both)


def test_a_case_in_two_folders_is_refused(scans: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(scans[0], tmp_path / "copy")
    twice = job(scans[0], scans[1], "completer", data=[scans[0], tmp_path / "copy"])
    with pytest.raises(RunError, match="sub-verse500 lies in two of the folders"):
        run_synthesis(twice, tmp_path / "run")


def test_a_spine_without_targets_is_counted_and_not_kept(scans: tuple[Path, Path], tmp_path: Path) -> None:
    case, told = next(each for each in graded_cases(scans[0], read_grades(scans[1])))
    nothing = CaseGrades(told.case, dict.fromkeys(told.grades, 2), told.split)
    config = job(scans[0], scans[1], "completer").model_dump_json()
    place = tmp_path / "c.npz"
    assert _make((str(place), config, "", (case, nothing))) == ("c", "no healthy target")
    assert not place.exists()


def test_a_job_without_validation_is_refused(scans: tuple[Path, Path], tmp_path: Path) -> None:
    grades = tmp_path / "grades.csv"
    lines = [line for line in scans[1].read_text().splitlines() if "validation" not in line]
    grades.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunError, match="no spine to use for validation"):
        run_synthesis(job(scans[0], grades, "completer"), tmp_path / "run")
    path = tmp_path / "job.yaml"
    path.write_text(
        "kind: completer\norigin: x\npace: {steps: 1}\nphantoms: {count: 1, seed: 7}\n"
        "validation_phantoms: {count: 1, seed: 7}\n"
    )
    with pytest.raises(ConfigError, match="one seed"):
        load_config(path, SynthesisConfig)


@pytest.mark.parametrize(
    "name", ["synthesis_completer_phantom", "synthesis_generator_phantom", "synthesis_generator_verse"]
)
def test_shipped_configs_load(name: str, root: Path, spinemed: Callable[..., Any]) -> None:
    config = load_config(root / "configs" / f"{name}.yaml", SynthesisConfig)
    assert config.phantoms is None or 1 <= config.phantoms.seed <= 399
    assert config.validation_phantoms is None or 400 <= config.validation_phantoms.seed <= 699
