"""What each part of the training data is worth: several arms, equal token budgets, several seeds, one table.

    releases ─▶ derived releases ─▶ training, an arm and seed at a time ─▶ predictions ─▶ scores ─▶ paired table

Convention: every arm trains the template's first stage for the same number of tokens and answers the same questions.
Training runs here, or behind a launcher (torchrun, Slurm) as the program's own command; asking and scoring are commands
of `spinemed bench`, over files. Whatever is finished is kept, and the same command goes on.

The table: each question's score is averaged over an arm's seeds and paired with the reference arm's, question by
question; intervals and tests are clustered by patient or phantom (:mod:`spinemed.statistics`), p values corrected by
Holm over all arms. The spread over seeds stands beside it: it is not in the interval.

Trap: an equal budget makes a small release go round more often. `passes` in the table says how often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, StringConstraints, model_validator

from spinemed.config import Config, ConfigPath, load_config
from spinemed.errors import ConfigError, RecordError, RunError
from spinemed.records import ReleaseRow, Sample, Score, content_hash
from spinemed.run import Run, open_run
from spinemed.statistics import generator_for
from spinemed.tables import (
    MANIFEST,
    file_sha256,
    read_jsonl,
    read_manifest,
    read_records,
    write_bytes,
    write_json,
    write_jsonl,
    write_records,
    write_text,
)
from train.ablation.arms import Transform, change, read_drafts
from train.config import Name, TrainConfig
from train.run import base_identity, existing_base

__all__ = ["AblateConfig", "Arm", "Part", "run_ablation"]


class Part(Config):
    """A release, or the rows of it that come from some sources."""

    release: ConfigPath
    """Release folder."""
    sources: tuple[str, ...] = ()
    """Keep rows of these sources only; all when empty."""
    without_sources: tuple[str, ...] = ()
    """Leave out rows of these sources."""
    tags: tuple[str, ...] = ()
    """Keep rows with one of these tags only; all when empty."""
    rows: int | None = Field(default=None, ge=1)
    """At most so many of these rows, drawn by the first seed; all unless given."""


class Arm(Config):
    """One way of training."""

    name: Name
    """In the table."""
    parts: tuple[Name, ...] = ()
    """Names from `parts`; none for the base itself, which is not trained."""
    transform: Transform = "none"
    """What is taken away (:mod:`train.ablation.arms`)."""


class AblateConfig(Config):
    """`spinemed train ablate`."""

    template: ConfigPath
    """Config of `spinemed train run`: base, and its first stage for method, rates and packing."""
    base: ConfigPath | None = None
    """Another base than the template's."""
    parts: dict[Name, Part] = Field(min_length=1)
    """Releases by name."""
    drafts: ConfigPath | None = None
    """`outputs/` of the data run that made the releases; for `transform: drafts`."""
    arms: tuple[Arm, ...] = Field(min_length=2)
    """In the order of the table."""
    reference: Name = "full"
    """The arm that all others are compared with."""
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    """Each arm is trained once with each."""
    tokens: int = Field(ge=1)
    """Input tokens of every training."""
    samples: ConfigPath
    """Samples folder of `spinemed bench samples`."""
    questions: int | None = Field(default=None, ge=1)
    """Ask whole patients and phantoms, drawn by the first seed, up to so many questions; all unless given."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest reply."""
    launch: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()
    """Stands before `-m spinemed train run`, e.g. [torchrun, --standalone]; trained in this process unless given."""
    resamples: int = Field(default=10_000, ge=100)
    """Of intervals and tests."""

    @model_validator(mode="after")
    def _names_fit(self) -> AblateConfig:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("two arms have one name")
        if self.reference not in names:
            raise ValueError(f"no arm is called '{self.reference}', which all others are compared with")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed stands twice")
        for arm in self.arms:
            if strange := set(arm.parts) - set(self.parts):
                raise ValueError(f"arm {arm.name} names the part '{min(strange)}', which `parts` lacks")
            if not arm.parts and arm.transform != "none":
                raise ValueError(f"arm {arm.name} has no parts that could be transformed")
            if arm.transform == "drafts" and self.drafts is None:
                raise ValueError(f"arm {arm.name} needs `drafts`")
        return self


def run_ablation(config: AblateConfig, out: str | os.PathLike[str]) -> Path:
    """Run or go on with an ablation.

    Returns:
        `out/outputs/table`, which holds `table.json` and `table.md`.

    Raises:
        ConfigError, ReadError, RecordError: An input is wrong.
        RunError: A training or an evaluation failed; its own message stands above.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "an ablation was started in several processes",
            field="launch", cure="start it in one, and write the launcher of its trainings into `launch`",
        )  # fmt: skip
    template = load_config(config.template, TrainConfig)
    base = config.base or template.base
    origin = base_identity(existing_base(base))
    with open_run(out, command="train ablate", config=config) as run, ThreadPoolExecutor(1) as asker:
        samples = _questions(config, run)
        asked: dict[str, list[Future[Path]]] = {arm.name: [] for arm in config.arms}
        for arm in config.arms:
            if not arm.parts:
                asked[arm.name].append(asker.submit(_ask, config, run, samples, base, arm.name))
                continue
            release = _derive(config, arm, run)
            for seed in config.seeds:
                model = _train(config, template, origin, arm, seed, release, run)
                # One model answers while the next one is trained.
                asked[arm.name].append(asker.submit(_ask, config, run, samples, model, f"{arm.name}_{seed}"))
        predictions = {name: [future.result() for future in futures] for name, futures in asked.items()}
        scores = _score(config, run, samples, predictions)
        return _table(config, run, samples, scores)


# --- what is trained on ----------------------------------------------------------------------------------------------


def _derive(config: AblateConfig, arm: Arm, run: Run) -> Path:
    """The release of one arm, made once and checked like any other."""
    made_from = {name: read_manifest(config.parts[name].release, "release")["sha256"] for name in arm.parts}
    key: dict[str, Any] = {
        "parts": {name: config.parts[name].model_dump(mode="json", exclude={"release"}) for name in arm.parts},
        "releases": made_from, "transform": arm.transform, "seed": config.seeds[0],
    }  # fmt: skip
    if arm.transform == "drafts":
        assert config.drafts is not None
        key["drafts"] = {
            name: file_sha256(config.drafts / name / "instances.parquet") for name in ("drafts", "revised")
        }

    def work(folder: Path) -> dict[str, Any]:
        drafts = None if arm.transform != "drafts" or config.drafts is None else read_drafts(config.drafts)
        kept: list[ReleaseRow] = []
        for name in arm.parts:
            part = config.parts[name]
            rows = read_records(part.release / "data" / "train.parquet", ReleaseRow)
            kept += _fewer([row for row in rows if _drawn(part, row)], part.rows, config.seeds[0], name)
        changed = change(kept, arm.transform, seed=config.seeds[0], drafts=drafts)
        if not changed:
            raise RecordError(
                f"arm {arm.name} has no row ({len(kept)} before its transform)", field="arms", cure="widen its parts"
            )
        write_records(folder / "data" / "train.parquet", ReleaseRow, changed)
        different = sum(new.messages != old.messages or len(new.images) != len(old.images)
                        for new, old in zip(changed, kept)) if len(changed) == len(kept) else None  # fmt: skip
        return {"rows": len(changed), "rows_before": len(kept), "rows_changed": different}

    return run.step(f"release_{arm.name}", key=key, work=work, kind="release")


def _drawn(part: Part, row: ReleaseRow) -> bool:
    return (
        (not part.sources or row.source_id in part.sources)
        and row.source_id not in part.without_sources
        and (not part.tags or bool(set(part.tags) & set(row.tags)))
    )


def _fewer(rows: list[ReleaseRow], most: int | None, seed: int, name: str) -> list[ReleaseRow]:
    """The rows themselves, or so many of them, in their order."""
    if most is None or len(rows) <= most:
        return rows
    chosen = generator_for(seed, "rows", name).permutation(len(rows))[:most]
    return [rows[place] for place in sorted(chosen.tolist())]


def _train(
    config: AblateConfig, template: TrainConfig, origin: str, arm: Arm, seed: int, release: Path, run: Run
) -> Path:
    """One training, as a command of its own; returns the model's folder. `origin` is the hash of the base."""
    folder = run.folder / "trainings" / f"{arm.name}_{seed}"
    model = folder / "outputs" / "model"
    job = _job(config, template, release, seed)
    file = run.folder / "trainings" / f"{arm.name}_{seed}.yaml"
    text = f"# Arm {arm.name}, seed {seed}.\n#   spinemed train run {file.name} --out {folder.name}\n"
    text += yaml.safe_dump(job, sort_keys=False)
    if not (file.is_file() and file.read_text(encoding="utf-8") == text):
        write_text(file, text)
    what = f"training {arm.name}, seed {seed}"
    key = content_hash({"job": job, "base": origin, "release": read_manifest(release, "release")["sha256"]})
    if _is_done(run, what, key) and (model / MANIFEST).is_file():
        return model
    if config.launch:
        _command(run, ["train", "run", str(file), "--out", str(folder)], what, config.launch)
    else:
        from train.run import run_training

        run_training(load_config(file, TrainConfig), folder)
    _set_done(run, what, key)
    return model


def _job(config: AblateConfig, template: TrainConfig, release: Path, seed: int) -> dict[str, Any]:
    """The template's first stage on one release, for the budget's tokens."""
    plain: dict[str, Any] = template.model_dump(mode="json", exclude_none=True)
    stage = dict(plain["stages"][0])
    schedule = {name: value for name, value in stage["schedule"].items() if name not in ("steps", "epochs")}
    # The budget decides how many steps there are, so the template's count of warm-up steps would mean another thing.
    schedule |= {"tokens": config.tokens, "warmup_steps": 0, "warmup_ratio": 0.1}
    stage |= {"mixture": [{"release": "arm"}], "schedule": schedule}
    plain |= {"releases": {"arm": str(release.resolve())}, "stages": [stage], "seed": seed, "benchmarks": []}
    if config.base is not None:
        plain["base"] = str(config.base)
    return plain


# --- asking and scoring ----------------------------------------------------------------------------------------------


def _questions(config: AblateConfig, run: Run) -> Path:
    """The samples that are asked: the folder itself, or whole clusters of it up to a number of questions."""
    source = read_manifest(config.samples, "samples")
    if config.questions is None:
        return config.samples
    wanted = config.questions

    def work(folder: Path) -> dict[str, Any]:
        listed = list(read_jsonl(config.samples / "samples.jsonl", Sample))
        sizes = Counter(sample.cluster for sample in listed)
        names = sorted(sizes)
        order = generator_for(config.seeds[0], "questions").permutation(len(names))
        chosen: set[str] = set()
        count = 0
        for place in order:
            if count + sizes[names[place]] <= wanted:
                chosen.add(names[place])
                count += sizes[names[place]]
        kept = [sample for sample in listed if sample.cluster in chosen]
        if not kept:
            raise ConfigError("no patient or phantom has so few questions", field="questions", cure="raise it")
        write_jsonl(folder / "samples.jsonl", kept)
        for image in sorted({image for sample in kept for image in sample.images}):
            write_bytes(folder / image, (config.samples / image).read_bytes())
        kept_keys = ("release_sha256", "split", "left_out", "counts", "contamination")
        facts = {name: source[name] for name in kept_keys if name in source}
        return {**facts, "samples": len(kept), "clusters": len(chosen), "drawn_from": len(listed)}

    key = {"samples": source["sha256"], "questions": wanted, "seed": config.seeds[0]}
    return run.step("samples", key=key, work=work, kind="samples")


def _ask(config: AblateConfig, run: Run, samples: Path, model: Path, name: str) -> Path:
    from spinemed.vlm.load import checkpoint_hash

    out, what = run.folder / "predictions" / name, f"answers of {name}"
    known = model / MANIFEST
    weights = file_sha256(known) if known.is_file() else checkpoint_hash(model)
    key = content_hash([weights, read_manifest(samples, "samples")["sha256"], config.max_new_tokens])
    if not (_is_done(run, what, key) and (out / MANIFEST).is_file()):
        arguments = ["bench", "predict", "--samples", str(samples), "--model", str(model), "--name", name]
        _command(run, [*arguments, "--max-new-tokens", str(config.max_new_tokens), "--out", str(out)], what)
        _set_done(run, what, key)
    return out


def _score(config: AblateConfig, run: Run, samples: Path, predictions: dict[str, list[Path]]) -> Path:
    """Scores of all systems, by `spinemed bench score`.

    Two trainings can end with the same weights, and scoring refuses a system that is given twice: it is scored once.
    """
    folders = [folder for several in predictions.values() for folder in several]
    models = {folder: _model_of(folder) for folder in folders}
    first = {models[folder]: folder for folder in reversed(folders)}
    digest = content_hash(sorted(file_sha256(folder / "predictions.jsonl") for folder in first.values()))
    out = run.folder / "scores" / digest[:16]
    if not (out / MANIFEST).is_file():
        every = [part for folder in first.values() for part in ("--predictions", str(folder))]
        # The table is made here; scoring is asked for its verdicts only, and compares with one system for form's sake.
        reference = first[models[predictions[config.reference][0]]].name
        arguments = ["bench", "score", "--samples", str(samples), *every, "--subject", reference]
        _command(run, [*arguments, "--resamples", "100", "--out", str(out)], "scores")
    return out


def _model_of(predictions: Path) -> str:
    return str(read_manifest(predictions, "predictions")["model"])


def _mark(run: Run, what: str) -> Path:
    return run.folder / "done" / content_hash([what])[:16]


def _is_done(run: Run, what: str, key: str) -> bool:
    """Whether this was finished before, from the same inputs: then no process is started for it."""
    mark = _mark(run, what)
    return mark.is_file() and mark.read_text(encoding="ascii") == key


def _set_done(run: Run, what: str, key: str) -> None:
    write_text(_mark(run, what), key)


def _command(run: Run, arguments: list[str], what: str, launch: Sequence[str] = ()) -> None:
    # -P: a train.py or bench/ in the user's folder must not be found instead of ours.
    before = list(launch) if launch else [sys.executable, "-P"]
    run.journal("command started", what=what, arguments=arguments)
    log = run.folder / "logs" / f"{content_hash([what])[:12]}.log"
    log.parent.mkdir(exist_ok=True)
    with open(log, "wb") as stream:
        done = subprocess.run(
            [*before, "-m", "spinemed", *arguments], stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    run.journal("command ended", what=what, exit_code=done.returncode)
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise RunError(
            f"{what} ended with exit code {done.returncode}: {lines[-1] if lines else 'it said nothing'}",
            file=log, cure="mend what the log names and start the same command again; finished parts are kept",
        )  # fmt: skip


# --- the table -------------------------------------------------------------------------------------------------------


def _table(config: AblateConfig, run: Run, samples: Path, scores: Path) -> Path:
    from train.ablation.table import make_table, table_text

    listed = list(read_jsonl(samples / "samples.jsonl", Sample))
    by_model: dict[str, dict[str, Score]] = {}
    for score in read_jsonl(scores / "scores.jsonl", Score):
        by_model.setdefault(score.model, {})[score.sample_id] = score
    systems = {
        arm.name: [by_model[_model_of(run.folder / "predictions" / name)] for name in _systems(config, arm)]
        for arm in config.arms
    }
    facts = {arm.name: _facts(config, arm, run) for arm in config.arms}
    key = {"scores": file_sha256(scores / "scores.jsonl"), "resamples": config.resamples, "facts": facts}

    def work(folder: Path) -> dict[str, Any]:
        table = make_table(
            listed, systems, reference=config.reference, seed=config.seeds[0], resamples=config.resamples, facts=facts
        )
        table |= {"tokens": config.tokens, "seeds": list(config.seeds)}
        write_json(folder / "table.json", table)
        write_text(folder / "table.md", table_text(table))
        return {"arms": len(config.arms), "questions": len(listed)}

    return run.step("table", key=key, work=work)


def _systems(config: AblateConfig, arm: Arm) -> list[str]:
    return [f"{arm.name}_{seed}" for seed in config.seeds] if arm.parts else [arm.name]


def _facts(config: AblateConfig, arm: Arm, run: Run) -> dict[str, Any]:
    """Rows, passes, steps and tokens of an arm's first training."""
    if not arm.parts:
        return {"rows": 0, "rows_changed": 0, "steps": 0, "tokens": 0, "passes": 0.0}
    release = read_manifest(run.outputs / f"release_{arm.name}", "release")
    plan = json.loads((run.folder / "trainings" / f"{arm.name}_{config.seeds[0]}" / "plans").joinpath(
        f"{load_config(config.template, TrainConfig).stages[0].name}.json").read_bytes())  # fmt: skip
    return {
        "rows": release["rows"], "rows_changed": release["rows_changed"], "steps": plan["steps"],
        "tokens": plan["tokens"], "passes": plan["passes"],
    }  # fmt: skip
