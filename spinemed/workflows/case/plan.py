"""The chain on one patient as a list of command lines: what `--dry-run` prints and `spinemed case report` runs.

Convention: every stage is a `spinemed …` child over files of the run folder (:mod:`spinemed.workflows.child`), and each
can be run again by hand. Own small steps are `spinemed case step NAME --out RUN`.

Trap: no stage names a file of the user's; what he gave was copied before, under plain names.
"""

from __future__ import annotations

from pathlib import Path

from spinemed.resources import configs_dir
from spinemed.workflows.case.config import CaseConfig
from spinemed.workflows.case.inputs import CaseInputs
from spinemed.workflows.case.places import Places
from spinemed.workflows.quickstart import Stage

__all__ = ["plan_case"]


def plan_case(config: CaseConfig, inputs: CaseInputs, places: Places) -> list[Stage]:
    """The commands, in order. Nothing is run.

    Args:
        config: How the chain is set.
        inputs: What was given for the patient.
        places: Paths of the run folder.
    """
    phantom = inputs.phantom is not None

    def step(title: str, name: str, made: Path) -> Stage:
        return Stage(title, ("case", "step", name, "--out", str(places.root)), made)

    stages = []
    if phantom:
        stages += [
            _make_phantom(config, inputs, places),
            step("Phantom: CT, mask and truth", "phantom", places.truth),
        ]
    labelled = _label(inputs, places)
    if labelled is not None:
        stages += [labelled, step("Levels: take over what was labelled", "labels", places.mask)]
    mask = ("--mask", str(places.mask), "--image", str(places.ct))
    twin = "neighbours" if inputs.completer is None else str(inputs.completer.resolve())
    stages += [
        step("Levels: in view, cut, decided", "levels", places.levels),
        Stage(
            "Straightening",
            ("vertebra", "straighten", *mask, "--spacing", str(config.spacing_mm), "--out", str(places.straight)),
            places.straight,
        ),
        Stage(
            "Synthesis: the body that each vertebra should have",
            ("vertebra", "synthesise", *mask, "--model", twin, "--out", str(places.twins)),
            places.twins,
        ),
        step("Height loss against the twin (RHLV)", "losses", places.losses),
        Stage("Grades against the own spine", ("vertebra", "grade", *mask, "--out", str(places.grades.parent)),
              places.grades),
        step("Measurements", "measure", places.measures),
        step("Findings, with where each stems from", "findings", places.findings),
        Stage(
            "Questions and the report in six parts, from what was measured",
            ("data", "run", str(places.findings / "build.yaml"), "--out", str(places.drafted)),
            places.drafted,
        ),
    ]  # fmt: skip
    if phantom:
        stages += [
            step("Reference: what is true of the phantom", "reference", places.truth_study),
            Stage(
                "Questions from the truth",
                ("data", "run", str(places.truth_study / "build.yaml"), "--out", str(places.reference)),
                places.reference,
            ),
        ]
    release = (places.reference if phantom else places.drafted) / "outputs" / "release"
    model = str(config.model if inputs.model is None else inputs.model.resolve())
    answers = places.answers / "model"
    stages += [
        Stage(
            "Questions to ask", ("bench", "samples", "--release", str(release), "--out", str(places.samples)),
            places.samples,
        ),
        step("Questions on named vertebrae, for tools", "named", places.named),
    ]  # fmt: skip
    if inputs.url is None:
        stages += [
            Stage(
                "Answers of the checkpoint (which calls no tools)",
                (
                    *("bench", "predict", "--samples", str(places.samples), "--model", model, "--name", "model"),
                    *("--max-new-tokens", str(config.max_new_tokens), "--out", str(answers)),
                ),
                answers,
            ),
            step("Answers with tools, by the stand-in that calls by rule", "stand_in", places.served),
        ]
    else:
        stages.append(
            Stage(
                "Answers of the served model, with tools",
                (
                    *("bench", "run", str(places.named.parent / "named.yaml"), "--url", inputs.url),
                    *("--served-model", str(inputs.served_model), "--out", str(places.served)),
                    *(() if phantom else ("--answers-only",)),
                ),
                places.served,
            )
        )
    if phantom:
        if inputs.url is None:
            stages.append(
                Stage(
                    "Score of the answers",
                    (
                        *("bench", "score", "--samples", str(places.samples), "--predictions", str(answers)),
                        *("--resamples", str(config.resamples), "--seed", str(config.seed)),
                        *("--out", str(places.scores)),
                    ),
                    places.scores,
                )
            )
        stages.append(step("Score of the chain against the truth", "score", places.score))
    stages.append(step("Page", "page", places.page))
    return stages


def _make_phantom(config: CaseConfig, inputs: CaseInputs, places: Places) -> Stage:
    sets = tuple(part for each in config.phantom for part in ("--set", each))
    return Stage(
        "Phantom: a computed spine",
        (
            *("phantom", "make", "--config", str(configs_dir() / "phantom_lumbar.yaml"), "--n", "1", "--what", "ct"),
            *("--seed", str(inputs.phantom), "--field", config.phantom_field),
            *("--spacing", str(config.phantom_spacing_mm), *sets, "--out", str(places.phantom)),
        ),
        places.phantom,
    )


def _label(inputs: CaseInputs, places: Places) -> Stage | None:
    """Labels of a model or a tool; None where a mask was given, or a phantom's own is taken."""
    if inputs.labeller is not None:
        how = ("label", "run", str(places.ct), "--model", str(inputs.labeller.resolve()), "--out", str(places.labels))
        return Stage("Labels, by a trained labeller", how, places.labels)
    if inputs.tool is not None:
        how = ("label", "external", str(places.ct), "--tool", inputs.tool, "--out", str(places.labels))
        return Stage(f"Labels, by {inputs.tool}", how, places.labels)
    return None
