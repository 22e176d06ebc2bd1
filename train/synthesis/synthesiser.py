"""Train a synthesiser of healthy vertebrae: the shape completer (masks), or the slice generator (masks and CT).

Convention: it learns from phantoms that the run draws itself, each broken and with its healthy twin, or from folders in
VerSe's layout with a CSV of grades; what was prepared (`outputs/train`, `outputs/validation`) and trained (checkpoints)
is kept, so that a killed run goes on and ends with the same bytes. The model is selected on the validation spines; a
test split is never read. Started by accelerate, every process trains on its share of each batch, the first one writes.

Trap: what was learned from phantoms is no evidence about patients, and the model's card says which it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pydantic import Field, model_validator

from spinemed.config import Config, ConfigPath
from spinemed.errors import RunError, SpineMedError
from spinemed.labelling.dataset import VerseCase
from spinemed.records import content_hash
from spinemed.run import Run, open_run
from spinemed.tables import atomic_write, file_sha256
from spinemed.vertebra.synthesis.completer_net import CompleterConfig
from spinemed.vertebra.synthesis.generator_net import GeneratorConfig
from spinemed.vertebra.synthesis.store import write_card
from spinemed.workers import worked_off
from train.crowd import Crowd, SilentRun
from train.synthesis.completer import completer_samples, fit_completer, load_samples
from train.synthesis.generator import GeneratorWeights, fit_generator, generator_samples, load_slices
from train.synthesis.loop import Pace
from train.synthesis.spines import (
    CaseGrades,
    PhantomSpines,
    SpinePair,
    case_pair,
    graded_cases,
    phantom_pair,
    read_grades,
)
from train.trainer import claim_checkpoints, set_determinism

__all__ = ["SynthesisConfig", "run_synthesis"]

Part = Literal["train", "validation"]
_PARTS: tuple[Part, ...] = get_args(Part)
_NOTE = "Research use only. What was learned from phantoms is no evidence about patients."


class SynthesisConfig(Config):
    """`spinemed train synthesis`."""

    kind: Literal["completer", "generator"]
    """What to train: the masks-only shape completer, or the slice generator, which needs CT."""
    phantoms: PhantomSpines | None = None
    """Phantoms to learn from, drawn by the run itself."""
    validation_phantoms: PhantomSpines | None = None
    """Phantoms to select on; of another seed."""
    data: tuple[ConfigPath, ...] = ()
    """Folders in VerSe's layout, each with CT and masks."""
    grades: ConfigPath | None = None
    """CSV of grades for `data`: case, level (or label), grade, split."""
    origin: str = Field(min_length=1)
    """What the data are, in a few words ("phantoms, families a and b"); stands wherever the model answers."""
    completer: CompleterConfig = CompleterConfig()
    """The completer's network."""
    generator: GeneratorConfig = GeneratorConfig()
    """The generator's networks."""
    weights: GeneratorWeights = GeneratorWeights()
    """Of the generator's losses."""
    pace: Pace
    """Training of the completer, or of the generator and its discriminators."""
    classifier_pace: Pace = Pace(steps=300, batch_size=64, learning_rate=2e-3)
    """Training of the classifier whose attention guides the generator."""
    seed: int = 0
    """Of weights, batches and slices."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of torch, and processes that prepare. Results repeat for the same number of threads only."""

    @model_validator(mode="after")
    def _has_data(self) -> SynthesisConfig:
        if bool(self.data) != (self.grades is not None):
            raise ValueError("names folders without grades, or grades without folders; the two belong together")
        if self.phantoms is None and not self.data:
            raise ValueError("names neither phantoms nor folders (data) to learn from")
        if self.phantoms is not None and self.validation_phantoms is None and not self.data:
            raise ValueError("names no validation_phantoms to select on")
        if self.phantoms and self.validation_phantoms and self.phantoms.seed == self.validation_phantoms.seed:
            raise ValueError("trains and validates on phantoms of one seed; give validation_phantoms another")
        return self


def run_synthesis(config: SynthesisConfig, out: str | os.PathLike[str]) -> Path:
    """Train a synthesiser; resumes when `out` holds an unfinished run of the same config.

    Returns:
        The model folder, `out/outputs/model`.

    Raises:
        ReadError, RecordError, VolumeError, RunError: a case cannot be read, no healthy target is left to learn from or
            to select on, or the run folder belongs to something else.
    """
    # Read when the first matrix is multiplied on a GPU; sums repeat with it, and torch refuses to multiply without.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    crowd = Crowd()
    if not crowd.first:
        place, key = crowd.hear()
        if place:
            set_determinism(config.seed, config.threads)
            _fit(config, SilentRun(Path(out)), Path(place), key)
        crowd.meet()
        return Path(out) / "outputs" / "model"
    with open_run(out, command="train synthesis", config=config) as run:
        cases = _cases(config)
        for part in _PARTS:
            _prepare(config, run, cases, part)
        learned = {
            "config": content_hash(config.model_dump(mode="json", exclude={"data", "grades"})),
            "cases": _hashes(cases),
        }
        told = False

        def train(folder: Path) -> dict[str, Any]:
            nonlocal told
            digest = content_hash(learned)
            for stage in ("completer",) if config.kind == "completer" else ("classifier", "generator"):
                claim_checkpoints(run, stage, digest)
            crowd.tell((str(run.outputs), digest))
            told = True
            set_determinism(config.seed, config.threads)
            start, used = time.monotonic(), time.process_time()
            made, facts = _fit(config, run, run.outputs, digest)
            clock = {"seconds": round(time.monotonic() - start, 1), "cpu_seconds": round(time.process_time() - used, 1)}
            run.journal("trained", stage=config.kind, **clock)
            about = made(folder)
            write_card(folder, config.kind, {**_about(config, cases), **about, **facts})
            return facts

        model = run.step("model", key=learned, work=train, kind="synthesiser")
        if not told:
            crowd.tell(("", ""))
        crowd.meet()
        return model


def _cases(config: SynthesisConfig) -> list[tuple[VerseCase, CaseGrades]]:
    """Graded cases of all folders.

    Raises:
        RunError: no case, one that lies in two folders, or a patient on both sides.
    """
    if config.grades is None:
        return []
    grades = read_grades(config.grades)
    found = [each for folder in config.data for each in graded_cases(folder, grades)]
    if not found:
        raise RunError("no case of the folders has a mask and grades", field="grades", cure="name cases as their files")
    names = [case.name for case, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(
            f"the case {twice[0]} lies in two of the folders", field="data", cure="name each folder and case once"
        )
    sides = [{case.patient for case, told in found if told.split == part} for part in ("train", "validation")]
    if sides[0] & sides[1]:
        raise RunError(
            f"patient {min(sides[0] & sides[1])} is in train and validation", file=config.grades, field="split",
            cure="put all scans of a patient into one split",
        )  # fmt: skip
    return found


def _hashes(cases: list[tuple[VerseCase, CaseGrades]]) -> dict[str, Any]:
    return {
        case.name: [told.split, {str(level): grade for level, grade in sorted(told.grades.items())}]
        + [file_sha256(path) for path in (case.image, case.mask) if path is not None]
        for case, told in cases
    }


def _prepare(config: SynthesisConfig, run: Run, cases: list[tuple[VerseCase, CaseGrades]], part: Part) -> Path:
    """Draw or read the spines of one split, and keep what training needs of each."""
    phantoms = config.phantoms if part == "train" else config.validation_phantoms
    mine = [each for each in cases if each[1].split == part]
    if phantoms is None and not mine:
        raise RunError(
            f"no spine to use for {part}", field="grades", cure=f"give cases of the split '{part}', or phantoms"
        )
    shape = content_hash(config.generator) if config.kind == "generator" else ""
    key: dict[str, Any] = {
        "phantoms": phantoms and content_hash(phantoms), "cases": _hashes(mine), "kind": config.kind, "shape": shape,
        "seed": config.seed if config.kind == "generator" else 0,
    }  # fmt: skip
    # Finished spines are kept in scratch until the step is whole, under the hash of what decides each of them.
    decides = {**key, "phantoms": phantoms and content_hash(phantoms.model_dump(mode="json", exclude={"count"}))}
    kept = run.scratch / f"{part}-{content_hash(decides)[:16]}"

    def work(folder: Path) -> dict[str, Any]:
        kept.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        jobs = list(_jobs(config, phantoms, mine, kept))
        left_out: dict[str, str] = {}
        with run.progress(part, len(jobs)) as advance:
            waiting = [job for job in jobs if not Path(job[0]).is_file()]
            advance(len(jobs) - len(waiting))
            for name, why in worked_off(_make, iter(waiting), config.threads):
                if why:
                    left_out[name] = why
                advance(1)
        for job in jobs:
            if Path(job[0]).is_file():
                os.link(job[0], folder / Path(job[0]).name)
        run.journal("prepared", part=part, spines=len(jobs), seconds=round(time.monotonic() - start, 1))
        return {"spines": len(jobs) - len(left_out), "left_out": dict(sorted(left_out.items()))}

    return run.step(part, key=key, work=work)


_Job = tuple[str, str, str, Any]


def _jobs(
    config: SynthesisConfig, phantoms: PhantomSpines | None, cases: list[tuple[VerseCase, CaseGrades]], folder: Path
) -> Iterator[_Job]:
    """File to write, the config, and which spine."""
    text = config.model_dump_json()
    for index in range(phantoms.count if phantoms else 0):
        assert phantoms is not None
        yield str(folder / f"p{index:05d}.npz"), text, phantoms.model_dump_json(), index
    for case, grades in cases:
        yield str(folder / f"c-{case.name}.npz"), text, "", (case, grades)


def _make(job: _Job) -> tuple[str, str]:
    """Prepare one spine; its name, and why it gives nothing."""
    place, text, drawn, which = job
    config = SynthesisConfig.model_validate_json(text)
    image = config.kind == "generator"
    try:
        if drawn:
            pair = phantom_pair(PhantomSpines.model_validate_json(drawn), which, image=image)
        else:
            pair = case_pair(*which, image=image)
        arrays = _samples(config, pair)
    except SpineMedError as error:
        return Path(place).stem, str(error)
    if not arrays:  # nothing is kept, so that a run that goes on counts it as left out again
        return Path(place).stem, "no healthy target"
    with atomic_write(place) as stream:
        np.savez(stream, **arrays)
    return Path(place).stem, ""


def _samples(config: SynthesisConfig, pair: SpinePair) -> dict[str, Any]:
    if config.kind == "completer":
        return completer_samples(pair)
    return generator_samples(pair, config.generator, seed=config.seed)


def _fit(
    config: SynthesisConfig, run: Run, outputs: Path, digest: str
) -> tuple[Callable[[Path], dict[str, Any]], dict[str, Any]]:
    """Train; a function that writes weights into a folder and says what belongs on the card, and facts."""
    if config.kind == "completer":
        train, held = (load_samples(outputs / part) for part in ("train", "validation"))
        net, trained, share = fit_completer(
            run, config.completer, config.pace, train, held, seed=config.seed, key=digest
        )
        facts = {"selected_step": trained.step, "validation": trained.scores, "samples": len(train["target"])}

        def write(folder: Path) -> dict[str, Any]:
            from train.synthesis.export import write_completer

            write_completer(folder, config.completer, net)
            return {"height_sd_share": list(share)}

        return write, facts
    slices, shown = (load_slices(outputs / part) for part in ("train", "validation"))
    nets, facts = fit_generator(
        run, config.generator, config.weights, (config.classifier_pace, config.pace), slices, shown,
        seed=config.seed, key=digest,
    )  # fmt: skip

    def write_all(folder: Path) -> dict[str, Any]:
        from train.synthesis.export import write_generator

        write_generator(folder, config.generator, nets)
        return {}

    return write_all, facts


def _about(config: SynthesisConfig, cases: list[tuple[VerseCase, CaseGrades]]) -> dict[str, Any]:
    """What the model says about its training."""
    sets = {"phantoms": config.phantoms, "validation_phantoms": config.validation_phantoms}
    return {
        "origin": config.origin,
        "note": _NOTE,
        "seed": config.seed,
        **{name: None if each is None else each.model_dump(mode="json") for name, each in sets.items()},
        "patients": len({case.patient for case, _ in cases}),
        "cases_sha256": content_hash(_hashes(cases)),
    }
