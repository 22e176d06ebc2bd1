"""Facts of one study put into the closed forms of the four tasks: the very forms in which a model answers.

Convention: what is said follows from :class:`~data_pipeline.drafting.tasks.facts.Facts` by rule; a generator draws
among wordings that say the same, and among questions that may be asked. Nothing is said of a patient that is not in
the record.

Trap: a coded value without a word in a language stops the item (:class:`Unworded`), never the sentence alone: a report
that leaves a finding out is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_pipeline.drafting.tasks.facts import Facts, Fracture
from data_pipeline.drafting.tasks.words import Words
from data_pipeline.writers.schemas import Citation, Consultation, MultipleChoice, Open, Report, Turn, Written
from spinemed.anatomy import REGULAR, Level, Spine
from spinemed.questions import neighbour
from spinemed.records import Finding

__all__ = ["Form", "Unworded", "record_line", "write_task"]

Form = str
_FEWEST_OPTIONS = 3


class Unworded(Exception):
    """A coded value has no word in the language that is asked for; the text says which."""


def _term(words: Words, group: str, name: str) -> str:
    found = words.term(group, name)
    if found is None:
        raise Unworded(f"{group} '{name}' has no word in {words.language}")
    return found


def write_task(
    facts: Facts, words: Words, form: Form, choose: np.random.Generator, rng: np.random.Generator
) -> Written | None:
    """One item of the words' task, or None where the record gives nothing to ask.

    Args:
        facts: The study's record, sorted.
        words: Wordings of the task in a language.
        form: `text` or `image`; patients speak of what they hold.
        choose: Draws what is asked; the same for every language and form of a study.
        rng: Draws the wordings.

    Raises:
        Unworded: A finding has no words in this language.
    """
    if words.task == "multiple_choice":
        return _choice(facts, words, choose, rng)
    if words.task == "open":
        return _open(facts, words, choose, rng)
    return _consultation(facts, words, form, rng) if words.task == "consultation" else _report(facts, words, rng)


def _cited(facts: Facts) -> list[Citation]:
    return [Citation(id=facts.study.id, quote="")]


# --- sentences that tasks share --------------------------------------------------------------------------------------


def _technique(facts: Facts, words: Words, rng: np.random.Generator) -> str:
    study = facts.study
    return words.say(
        "technique", rng, plane=_term(words, "plane", study.plane), modality=_term(words, "modality", study.modality),
        pixel=f"{study.spacing_mm:.2f}".rstrip("0").rstrip("."),
    )  # fmt: skip


def _levels(words: Words, levels: tuple[Level, ...]) -> str:
    return words.listed([level.value for level in levels])


def _view(facts: Facts, words: Words, rng: np.random.Generator) -> str:
    if facts.named:
        return words.say("view_named", rng, levels=_levels(words, facts.whole))
    if not facts.study.marks:
        return words.say("view_unstated", rng)
    return words.say("view_unnamed", rng, bodies=facts.bodies)


def _loss(fracture: Fracture) -> str:
    return "" if fracture.loss_percent is None else str(round(fracture.loss_percent))


def _fracture(fracture: Fracture, words: Words, rng: np.random.Generator) -> str:
    shape = _term(words, "shape", fracture.shape)
    if fracture.level is None:
        return words.say("fracture_unnamed", rng, shape=shape)
    if fracture.loss_percent is None:
        return words.say("fracture_unmeasured", rng, level=fracture.level.value, shape=shape)
    grade = fracture.grade
    told = "" if grade is None else words.say("genant", rng, number=grade, word=_term(words, "grade", str(grade)))
    return words.say("fracture", rng, level=fracture.level.value, shape=shape, loss=_loss(fracture), grade=told)


def _fractures(facts: Facts, words: Words, rng: np.random.Generator) -> list[str]:
    """What the record states about fractures, of every vertebra it speaks of."""
    if not facts.fractures_stated:
        return [words.say("fractures_unstated", rng)]
    told = [_fracture(fracture, words, rng) for fracture in facts.fractures]
    if facts.intact:
        name = "intact" if told else "no_fracture"
        told.append(words.say(name, rng, levels=_levels(words, facts.intact)))
    return told or [words.say("fractures_unstated", rng)]


def _other(finding: Finding, words: Words, rng: np.random.Generator) -> str:
    kind = _term(words, "kind", finding.kind)
    at = finding.level or finding.disc
    place = words.say("unnamed", rng) if at is None else str(at)
    if finding.value == "none":
        return words.say("finding_absent", rng, place=place, kind=kind)
    value = _term(words, "value", finding.value)
    detail = words.say("detail_value", rng, value=value) if value else ""
    if finding.side is not None:
        detail += words.say("detail_side", rng, side=_term(words, "side", finding.side))
    if finding.grade is not None:
        detail += words.say("detail_grade", rng, grade=finding.grade, scheme=finding.scheme or "-")
    if finding.amount is not None:
        detail += words.say("detail_amount", rng, amount=f"{finding.amount:g}", unit=finding.unit)
    return words.say("finding", rng, place=place, kind=kind, detail=detail)


def _stated(facts: Facts, words: Words, rng: np.random.Generator) -> list[str]:
    return [*_fractures(facts, words, rng), *(_other(finding, words, rng) for finding in facts.others)]


def _limits(facts: Facts, words: Words, rng: np.random.Generator) -> list[str]:
    return [words.say(f"limits_{facts.study.modality}", rng), words.say("limits_all", rng)]


def record_line(facts: Facts, words: Words, rng: np.random.Generator) -> str:
    """The study's record in one line, for items that come without the picture; laid out as for a model.

    Raises:
        Unworded: A finding has no words in this language.
    """
    study = facts.study
    seen = words.say("record_unnamed" if study.marks else "record_nothing", rng, bodies=facts.bodies)
    if facts.named:
        seen = _levels(words, facts.whole)
    told = []
    for fracture in facts.fractures:
        shape = _term(words, "shape", fracture.shape)
        level = words.say("unnamed", rng) if fracture.level is None else fracture.level.value
        name = "record_fracture" if fracture.loss_percent is not None else "record_fracture_unmeasured"
        told.append(words.say(name, rng, shape=shape, level=level, loss=_loss(fracture)))
    if facts.intact:
        told.append(words.say("record_intact", rng, levels=_levels(words, facts.intact)))
    told += [_other(finding, words, rng).rstrip(".。") for finding in facts.others]
    comma, stop, end = ("，", "；", "。") if words.language == "zh" else (", ", "; ", ".")
    space = "" if words.language == "zh" else " "
    head = words.say("record_head", rng)
    kind = comma.join((_term(words, "modality", study.modality), _term(words, "plane", study.plane)))
    view = f"{words.say('record_view', rng)}{space}{seen}"
    found = f"{words.say('record_findings', rng)}{space}{stop.join(told) or words.say('record_nothing', rng)}"
    return f"{head}{space}{stop.join((kind, view, found))}{end}"


# --- the four tasks --------------------------------------------------------------------------------------------------


def _choice(facts: Facts, words: Words, choose: np.random.Generator, rng: np.random.Generator) -> MultipleChoice | None:
    kinds = ["showable"]
    named = [fracture for fracture in facts.fractures if fracture.level is not None]
    if named and len(facts.intact) >= _FEWEST_OPTIONS - 1:
        kinds += ["fractured"] * 2
    if named:
        kinds += ["shape"] * 2
    if facts.bodies >= _FEWEST_OPTIONS:
        kinds.append("lowest")
    kind = kinds[int(choose.integers(len(kinds)))]
    pick = int(choose.integers(1 << 30))
    values: dict[str, Any] = {}
    axis: Any = "pathology"
    if kind == "showable":
        right = words.say("showable", rng)
        wrong = [words.say(name, rng) for name in ("hidden_age", "hidden_modic", "hidden_movement")]
    elif kind == "lowest":
        axis = "level_identification"
        unknown = words.say("option_not_determinable", rng)
        if facts.named:
            right, wrong = facts.whole[-1].value, [*_beside(facts, pick), unknown]
        else:
            start = pick % (len(REGULAR.presacral) - 3)
            right, wrong = unknown, [level.value for level in REGULAR.presacral[start : start + 3]]
    else:
        fracture = named[pick % len(named)]
        assert fracture.level is not None
        if kind == "fractured":
            right = fracture.level.value
            at = _order(facts, fracture.level)
            near = sorted(facts.intact, key=lambda level: (abs(_order(facts, level) - at), level))
            wrong = [level.value for level in near[:3]]
        else:
            values["level"] = fracture.level.value
            shapes = [_term(words, "shape", name) for name in ("wedge", "crush", "biconcave")]
            right = _capital(_term(words, "shape", fracture.shape))
            wrong = [_capital(shape) for shape in shapes if _capital(shape) != right]
            wrong.append(words.say("option_no_fracture", rng))
    options = sorted([right, *wrong])
    return MultipleChoice(
        axis=axis, cited=_cited(facts), question=words.say(f"ask_{kind}", rng, **values), options=options, right=right
    )


def _beside(facts: Facts, pick: int) -> list[str]:
    """Two neighbours of the lowest vertebra in view: above and below it as often as both above, so that the lowest
    option is no sign of the right one."""
    lowest = facts.whole[-1]
    below = neighbour(Spine.of(facts.whole), lowest, 1)
    above = [level.value for level in facts.whole[-3:-1]]
    return above if below is None or pick % 2 else [above[-1], below.value]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _order(facts: Facts, level: Level) -> int:
    """Place of a level among those the record speaks of, from the head down."""
    return sorted({*facts.intact, *(f.level for f in facts.fractures if f.level is not None)}).index(level)


def _open(facts: Facts, words: Words, choose: np.random.Generator, rng: np.random.Generator) -> Open:
    kinds = ["view", "limits", *(["fractures"] * 3 if facts.fractures_stated else [])]
    kind = kinds[int(choose.integers(len(kinds)))]
    axis: Any = "level_identification" if kind == "view" else "pathology"
    if kind == "view":
        told = [_technique(facts, words, rng), _view(facts, words, rng)]
    elif kind == "limits":
        told = [_technique(facts, words, rng), *_limits(facts, words, rng)]
        told.append(words.say(f"needs_{facts.study.modality}", rng))
    else:
        number = len(facts.fractures)
        head = "fractured_number" if number == 1 else "fractured_numbers"
        told = [words.say(head, rng, number=number)] if number else []
        told += _stated(facts, words, rng)
    return Open(axis=axis, cited=_cited(facts), question=words.say(f"ask_{kind}", rng), answer=words.join(told))


def _consultation(facts: Facts, words: Words, form: Form, rng: np.random.Generator) -> Consultation:
    cervical = words.say("cervical_signs", rng) if facts.cervical else ""
    asks = [words.say("physician_asks", rng, cervical=cervical), words.say("urgent", rng)]
    shows = [_technique(facts, words, rng), _view(facts, words, rng)]
    for fracture in facts.fractures:
        shape, name = _term(words, "shape_plain", fracture.shape), _term(words, "shape", fracture.shape)
        if fracture.level is None:
            shows.append(words.say("plain_unnamed", rng, shape=shape, name=name))
        elif fracture.loss_percent is None:
            shows.append(
                words.say("plain_fracture_unmeasured", rng, level=fracture.level.value, shape=shape, name=name)
            )
        else:
            level = fracture.level.value
            shows.append(words.say("plain_fracture", rng, level=level, shape=shape, loss=_loss(fracture), name=name))
    if not facts.fractures:
        shows += _fractures(facts, words, rng)
    shows += [_other(finding, words, rng) for finding in facts.others]
    shows += _limits(facts, words, rng)
    following = [words.say("next_fracture" if facts.fractures else "next_plain", rng)]
    if facts.fractures:
        following.append(words.say(f"next_tests_{facts.study.modality}", rng))
    following.append(words.say("exercise", rng, origin=_term(words, "origin", facts.study.origin)))
    said = [
        ("patient", words.say(f"patient_opens_{form}", rng)),
        ("physician", words.join(asks)),
        ("patient", words.say("patient_answers", rng)),
        ("physician", words.join(shows)),
        ("patient", words.say("patient_asks_next", rng)),
        ("physician", words.join(following)),
    ]
    turns = [Turn(speaker=speaker, text=text) for speaker, text in said]  # type: ignore[arg-type]
    return Consultation(axis="pathology", cited=_cited(facts), turns=turns)


def _report(facts: Facts, words: Words, rng: np.random.Generator) -> Report:
    study, broken = facts.study, facts.fractures
    findings = [_technique(facts, words, rng), _view(facts, words, rng), *_stated(facts, words, rng)]
    findings += _limits(facts, words, rng)
    diagnosis = []
    for fracture in broken:
        shape = _term(words, "shape", fracture.shape)
        if fracture.level is None:
            diagnosis.append(words.say("suggests_unnamed", rng, shape=shape))
        else:
            diagnosis.append(words.say("suggests_fracture", rng, shape=shape, level=fracture.level.value))
    if broken:
        diagnosis.append(words.say("cause", rng))
    elif not facts.others:
        diagnosis.append(words.say("suggests_no_fracture" if facts.intact else "suggests_nothing", rng))
    diagnosis += [_other(finding, words, rng) for finding in facts.others if finding.value != "none"]
    if not diagnosis:
        diagnosis.append(words.say("suggests_nothing", rng))
    clinician = [words.say("clinician_neurology", rng)]
    if broken:
        clinician += [words.say(f"clinician_fracture_{study.modality}", rng), words.say("clinician_cause", rng)]
    else:
        clinician.append(words.say("clinician_plain", rng))
    origin, truth = _term(words, "origin", study.origin), _term(words, "truth", study.truth)
    basis = words.say("basis", rng, truth=truth, origin=origin)
    return Report(
        axis="pathology",
        cited=_cited(facts),
        findings=words.join(findings),
        diagnosis=words.join(diagnosis),
        advice_patient=words.say("patient_fracture" if broken else "patient_plain", rng),
        advice_clinician=words.join(clinician),
        risk_and_prognosis=words.say("risk_fracture" if broken else "risk_plain", rng),
        after_surgery=words.say("after_surgery", rng),
        basis=words.join([basis, words.say("disclaimer", rng)]),
    )
