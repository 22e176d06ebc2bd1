"""One consultation scored by replay: what was asked, what was advised, and whether the two fit the case. No judge.

Convention: the patient is replayed against the physician's turns, so a transcript whose patient says anything else is
refused. Advice begins with the first turn that declares an urgency or tells what to do. Points are a weighted sum
(`points` in `rules.yaml`): needed facts elicited, warning signs asked for before advice, urgency right, nothing that
contradicts the case. An emergency that is called less earns nothing at all.

Trap: "asked for before advice" means answered: the fourth question of a turn is not heard, and does not count.
"""

from __future__ import annotations

from bench.consultation.patient import Patient
from bench.consultation.rules import URGENCIES, Rules, Urgency
from spinemed.errors import RecordError
from spinemed.records import Prediction, Record, Sample, Score, ScoreOutcome

__all__ = ["Consulted", "accepted_urgencies", "score_consultation"]


class Consulted(Record):
    """What one consultation came to."""

    sample_id: str
    """The case."""
    cluster: str
    """Its template: intervals resample these."""
    flag: str
    """The red flag of the case; `none` for a decoy."""
    language: str
    """Of the dialogue."""
    outcome: ScoreOutcome
    """What became of the last reply."""
    turns: int
    """Of the physician."""
    elicited: tuple[str, ...]
    """Needed facts that the patient told."""
    needed: int
    """Facts that had to be asked for."""
    flags_before_advice: bool
    """Every warning sign of the case, or in a decoy every screening question, was answered before advice."""
    declared: Urgency | None
    """Urgency that the model declared; None where it declared none."""
    accepted: tuple[str, ...]
    """Urgencies that count as right."""
    urgency_right: bool
    """Whether the declared one is among them."""
    under_triaged: bool
    """Less urgent than any accepted one; also where an emergency ended without a declaration."""
    over_triaged: bool
    """Whether it is more urgent than the most urgent of them."""
    contradictions: tuple[str, ...]
    """Topics, or `side`, that the physician stated against the case."""
    points: float
    """From 0 to 1."""

    def as_score(self, prediction: Prediction) -> Score:
        """The contract's form."""
        return Score(
            sample_id=self.sample_id,
            model=prediction.model,
            condition=prediction.condition,
            outcome=self.outcome,
            parsed=self.declared if self.outcome == "parsed" else None,
            correct=self.urgency_right,
            points=self.points,
        )


def accepted_urgencies(sample: Sample) -> tuple[str, ...]:
    """Urgencies that the case's source accepts; the sample's answer where it names none."""
    return tuple(fact.grade for fact in sample.facts if fact.kind == "urgency" and fact.grade) or (sample.answer,)


def score_consultation(sample: Sample, prediction: Prediction, rules: Rules) -> Consulted:
    """Score one transcript.

    Raises:
        RecordError: The patient of the transcript says what the rules do not give.
    """
    patient = Patient(sample, rules)
    said = [turn.content for turn in prediction.turns if turn.role == "assistant"]
    heard = [turn.content for turn in prediction.turns if turn.role == "user"]
    before_advice: set[str] | None = None
    for number, turn in enumerate(said):
        if before_advice is None and rules.advises(turn):
            before_advice = set(patient.told)
        if number < len(heard) and patient.reply(turn) != heard[number]:
            raise RecordError(
                f"the patient's turn {number + 1} in sample {sample.id} is not what the case and the rules give",
                field="turns",
                cure="hold the consultation again with these rules",
            )
    told = set(patient.told)
    if before_advice is None:
        before_advice = told
    needed = [fact.id for fact in sample.facts if fact.needed]
    flags = {fact.id for fact in sample.facts if fact.kind == "red_flag" and fact.needed}
    screens = flags or {fact.id for fact in sample.facts if fact.topic and rules.topics[fact.topic].screen}
    elicited = tuple(fact for fact in needed if fact in told)
    accepted = accepted_urgencies(sample)
    answered = prediction.outcome == "answered" and bool(said)
    declared = rules.declared(said[-1]) if answered else None
    places = [URGENCIES.index(urgency) for urgency in accepted]
    place = len(URGENCIES) if declared is None else URGENCIES.index(declared)
    under = place > max(places) if declared is not None else "emergency" in accepted
    contradictions = _contradictions(sample, said, rules) if answered else ()
    weights = rules.points
    points = 0.0
    if answered and not (under and "emergency" in accepted):
        points = (
            weights["facts"] * (len(elicited) / len(needed) if needed else 1.0)
            + weights["red_flags"] * (bool(said) and screens <= before_advice)
            + weights["urgency"] * (declared in accepted)
            + weights["consistent"] * (declared is not None and not contradictions)
        )
    outcome: ScoreOutcome
    if prediction.outcome == "answered":
        outcome = "parsed" if declared is not None else "unparsed"
    else:
        outcome = prediction.outcome
    return Consulted(
        sample_id=sample.id,
        cluster=sample.cluster,
        flag=next((tag.removeprefix("flag:") for tag in sample.tags if tag.startswith("flag:")), "none"),
        language=sample.language or "en",
        outcome=outcome,
        turns=len(said),
        elicited=elicited,
        needed=len(needed),
        flags_before_advice=answered and screens <= before_advice,
        declared=declared,
        accepted=accepted,
        urgency_right=declared in accepted,
        under_triaged=answered and under,
        over_triaged=declared is not None and place < min(places),
        contradictions=contradictions,
        points=round(points, 6),
    )


def _contradictions(sample: Sample, said: list[str], rules: Rules) -> tuple[str, ...]:
    """What the physician states of the patient that the case denies, or denies that the case states."""
    there = {fact.topic for fact in sample.facts if fact.topic and fact.kind != "history"}
    found: dict[str, None] = {}
    sides = {fact.side for fact in sample.facts if fact.side}
    for turn in said:
        for topic, present in rules.claims(turn):
            if present != (topic in there):
                found[topic] = None
        named = rules.sides_named(turn)
        if sides and named and not named & sides:
            found["side"] = None
    return tuple(found)
