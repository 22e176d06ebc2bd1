"""`make_live`: a samples folder of fresh questions, made by several processes and gone on with after a kill.

Convention: cases are made in a hidden folder beside the target (`.NAME.live`), one file a case, its pictures before it;
a finished case is never made again. At the end the samples are written in order, the manifest last, and the folder
takes the target's name. Same config, same bytes, with any number of processes and however often it was killed.

Trap: the bytes of pictures follow the installed Pillow; the manifest says which versions made them.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.folders import whole_folder
from bench.live.case import Case
from bench.live.config import LiveConfig
from bench.live.injection import payloads
from bench.live.plan import RECIPES, plan_cases, undecidable_count
from bench.samples import SAMPLES_FILE, Contamination, modality_of
from bench.spinebench.abstention import is_undecidable
from spinemed.errors import ReadError, RecordError, RunError
from spinemed.records import Sample, content_hash
from spinemed.run import alone_in, make_folder, versions
from spinemed.tables import (
    MANIFEST,
    read_jsonl,
    read_manifest,
    write_bytes,
    write_json,
    write_jsonl,
    write_manifest,
    write_text,
)
from spinemed.volume import write_nifti
from spinemed.workers import worked_off

__all__ = ["PAYLOADS_FILE", "make_case", "make_live"]

PAYLOADS_FILE = "payloads.json"
"""In the samples folder: what a tool's result is made to hold, by id (`bench/runner/tooled.py` reads it)."""

_MARK = "config.sha256"
_VERSIONED = ("python", "spinemed", "numpy", "pillow")


def make_case(config: LiveConfig, number: int, recipe: str) -> Case:
    """One case of a set.

    Raises:
        RecordError: The recipe asked another number of questions than it promises.
    """
    case = Case(config, number, recipe)
    RECIPES[recipe].make()(case)
    open_ = sum(is_undecidable(sample) for sample in case.samples)
    marked = sum("undecidable" in sample.tags for sample in case.samples)
    promised = RECIPES[recipe]
    if (len(case.samples) - open_, open_) != (promised.decidable, promised.undecidable) or marked != open_:
        raise RecordError(
            f"case {number} of recipe {recipe} asked {len(case.samples)} questions, {open_} of them undecidable, "
            f"and {marked} are marked so",
            field="recipe",
            cure="mend the recipe, or its numbers in bench/live/plan.py",
        )
    return case


def make_live(
    config: LiveConfig,
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Write a samples folder.

    Args:
        config: What to ask.
        out: The folder; one that holds this very set is left as it is.
        workers: Processes.
        advance: Told how many cases were finished.

    Returns:
        The manifest.

    Raises:
        ReadError: `out` holds something else.
        RunError: Another process writes there, or no worker is asked for.
    """
    if workers < 1:
        raise RunError(f"{workers} workers make nothing", field="--workers", cure="give 1 or more")
    target = Path(os.path.abspath(out))
    digest = content_hash(config)
    if (target / MANIFEST).is_file():
        known = read_manifest(target, "samples")
        if known.get("live_config_sha256") == digest:
            return known
        raise ReadError("holds other samples", file=target, cure="give another --out")
    work = make_folder(target.parent / f".{target.name}.live")
    with alone_in(work, "making these questions"):
        _claim(work, digest)
        recipes = plan_cases(config)
        missing = [number for number in range(len(recipes)) if not _file(work, number).is_file()]
        advance(len(recipes) - len(missing))
        text = config.model_dump_json()
        jobs = ((text, str(work), number, recipes[number]) for number in missing)
        for _ in worked_off(_work, jobs, workers):
            advance(1)
        _conclude(config, digest, work, target, recipes)
    shutil.rmtree(work)
    return read_manifest(target, "samples")


def _claim(work: Path, digest: str) -> None:
    """Take over what an earlier run of the same set left; drop what another one left."""
    mark = work / _MARK
    if not mark.is_file() or mark.read_text(encoding="utf-8") != digest:
        for name in ("cases", "images", "volumes"):
            shutil.rmtree(work / name, ignore_errors=True)
        write_text(mark, digest)
    for name in ("cases", "images"):
        (work / name).mkdir(exist_ok=True)
    for torn in work.rglob(".*.tmp"):
        torn.unlink()


def _file(work: Path, number: int) -> Path:
    return work / "cases" / f"{number:06d}.jsonl"


def _work(job: tuple[str, str, int, str]) -> int:
    text, folder, number, recipe = job
    work = Path(folder)
    case = make_case(LiveConfig.model_validate_json(text), number, recipe)
    for path, data in case.pictures.items():
        if not (work / path).is_file():
            write_bytes(work / path, data)
    for path, volume in case.volumes.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(volume, work / path)
    write_jsonl(_file(work, number), case.samples)
    return number


def _conclude(config: LiveConfig, digest: str, work: Path, target: Path, recipes: list[str]) -> None:
    samples = [sample for number in range(len(recipes)) for sample in read_jsonl(_file(work, number), Sample)]
    samples.sort(key=lambda sample: sample.id)
    open_ = sum(is_undecidable(sample) for sample in samples)
    if (len(samples), open_) != (config.count, undecidable_count(config)):
        raise RecordError(
            f"{len(samples)} questions, {open_} of them undecidable, where {config.count} and "
            f"{undecidable_count(config)} were planned",
            file=work,
            field="count",
            cure="remove this folder and make the set again",
        )
    made = versions()
    with whole_folder(target, "samples") as partial:
        (partial / "images").mkdir()
        for path in sorted({path for sample in samples for path in sample.images}):
            shutil.copyfile(work / path, partial / path)
        if (work / "volumes").is_dir():
            shutil.copytree(work / "volumes", partial / "volumes")
        write_jsonl(partial / SAMPLES_FILE, samples)
        write_json(partial / PAYLOADS_FILE, payloads()["tool"])
        write_manifest(
            partial,
            "samples",
            live_config_sha256=digest,
            release_sha256=digest,  # what the questions are made from; there is no release behind them
            split="test",
            live_config=config.model_dump(mode="json"),
            family=config.family,
            practice=config.family == "a",
            samples=len(samples),
            undecidable=open_,
            clusters=len({sample.cluster for sample in samples}),
            recipes=dict(sorted(Counter(recipes).items())),
            counts=_counts(samples),
            left_out={},
            contamination=Contamination().as_dict(),
            made_with={name: made[name] for name in _VERSIONED if name in made},
            note="computed phantoms, made-up vignettes and a few real images; research use only",
        )


def _counts(samples: Iterable[Sample]) -> dict[str, int]:
    counted = Counter(f"{sample.axis}/{modality_of(sample)}/{sample.origin}" for sample in samples)
    return dict(sorted(counted.items()))
