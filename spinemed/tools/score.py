"""`score`: a published clinical rule from what was read and told; what is missing comes back as what must be asked.

Convention: an input left out or null was not told; it is never taken for normal. The schema of the arguments is made of
the rules themselves, so it cannot differ from them.

Trap: a band is what a paper links to a total. It is no advice for a patient.
"""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from spinemed.scores import (
    OF_SCORE,
    SINS,
    SLIC,
    SLIC_INCOMPLETE_ONLY,
    TL_AOSIS,
    TLICS,
    AdditiveScore,
    LenkeCurve,
    lenke,
    srs_schwab,
)
from spinemed.tools.desk import Answer, Arguments, Desk, Tool

__all__ = ["RULES", "TOOL"]

RULES: dict[str, AdditiveScore] = {
    "TLICS": TLICS,
    "TL_AOSIS": TL_AOSIS,
    "SLIC": SLIC,
    "SLIC_INCOMPLETE_ONLY": SLIC_INCOMPLETE_ONLY,
    "SINS": SINS,
    "OF": OF_SCORE,
}
_NO_ADVICE = "bands are what the papers say of a total, no advice for a patient"
_Degrees = Annotated[float | None, Field(ge=-180, le=180)]
_Cobb = Annotated[float | None, Field(ge=0, le=180)]


class SchwabArguments(Arguments):
    """SRS-Schwab, adult deformity, standing films: Cobb angles, pelvic incidence, lordosis L1-S1, SVA, pelvic tilt."""

    rule: Literal["SRS_SCHWAB"]
    """Names the rule."""
    thoracic_deg: _Cobb = None
    """Cobb angle of the thoracic curve."""
    lumbar_deg: _Cobb = None
    """Cobb angle of the thoracolumbar or lumbar curve."""
    pi_deg: _Degrees = None
    """Pelvic incidence."""
    ll_deg: _Degrees = None
    """Lordosis from L1 to S1."""
    sva_mm: Annotated[float | None, Field(ge=-1000, le=1000)] = None
    """Sagittal vertical axis, positive forwards."""
    pt_deg: _Degrees = None
    """Pelvic tilt."""


class Curve(Arguments):
    """Standing Cobb angle (0 where there is no curve), residual on side bending, and kyphosis over the curve."""

    cobb_deg: _Cobb = None
    """Standing; 0 where there is no curve."""
    bending_deg: _Degrees = None
    """What is left of it on side bending."""
    kyphosis_deg: _Degrees = None
    """Kyphosis over the curve."""


class LenkeArguments(Arguments):
    """Lenke, adolescent idiopathic scoliosis, standing films: proximal, main thoracic, (thoraco)lumbar curve."""

    rule: Literal["LENKE"]
    """Names the rule."""
    pt: Curve = Curve()
    """Proximal thoracic curve."""
    mt: Curve = Curve()
    """Main thoracic curve."""
    tl: Curve = Curve()
    """Thoracolumbar or lumbar curve."""
    lumbar: Literal["A", "B", "C"] | None = None
    """Lumbar modifier."""
    kyphosis_t5_t12_deg: _Degrees = None
    """Kyphosis from T5 to T12."""


def _model(rule: str, score: AdditiveScore) -> type[Arguments]:
    fields: dict[str, Any] = {"rule": (Literal[rule], ...)}
    for item, answers in score.items.items():
        fields[item] = (Literal[tuple(answers)] | None, None)
    doc = f"{score.name}: {score.applies_to}."
    made: type[Arguments] = create_model(f"{rule.title()}Arguments", __base__=Arguments, __doc__=doc, **fields)
    return made


_MODELS = (*(_model(rule, score) for rule, score in RULES.items()), SchwabArguments, LenkeArguments)
_ANY: Any = reduce(or_, _MODELS)  # pydantic tells them apart by `rule`
ScoreArguments: type[Arguments] = create_model(
    "ScoreArguments",
    __base__=Arguments,
    __doc__="A rule with its inputs.",
    inputs=(_ANY, Field(discriminator="rule", description="The rule and what is known.")),
)


def run(arguments: Any, desk: Desk) -> Answer:
    """The total or type, the bands that stay possible, and what must be asked."""
    told = arguments.inputs
    if isinstance(told, SchwabArguments):
        return _schwab(told)
    if isinstance(told, LenkeArguments):
        return _lenke(told)
    rule = RULES[told.rule]
    found = rule.score(**told.model_dump(exclude={"rule"}))
    result = {
        "must_be_asked": [{"input": name, "answers": list(rule.items[name])} for name in found.missing],
        "score": found.score,
        "total": found.total,
        "lowest_total": found.lowest,
        "highest_total": found.highest,
        "bands_possible": [{"name": band.name, "statement": band.statement} for band in found.bands],
        "components": [{"input": part.name, "answer": part.answer, "points": part.points} for part in found.components],
        "applies_to": rule.applies_to,
        "source": found.source,
    }
    return Answer(result, _flags(found.missing))


def _schwab(told: SchwabArguments) -> Answer:
    found = srs_schwab(**told.model_dump(exclude={"rule"}))
    result = {
        "must_be_asked": [{"input": name, "unit": name.rsplit("_", 1)[1]} for name in found.missing],
        "score": "SRS-Schwab 2012",
        "code": found.code,
        "curve": found.curve,
        "pi_minus_ll": found.pi_minus_ll,
        "sva": found.sva,
        "pt": found.pt,
        "applies_to": "adult deformity, standing films only",
        "source": found.source,
    }
    return Answer(result, _flags(found.missing))


def _lenke(told: LenkeArguments) -> Answer:
    result: dict[str, Any] = {"score": "Lenke 2001", "applies_to": "adolescent idiopathic scoliosis, standing films"}
    curves = {"pt": told.pt, "mt": told.mt, "tl": told.tl}
    missing = [f"{name}.cobb_deg" for name, curve in curves.items() if curve.cobb_deg is None]
    if missing:
        more = [name for name in ("lumbar", "kyphosis_t5_t12_deg") if getattr(told, name) is None]
        asked = [{"input": name} for name in (*missing, *more)]
        return Answer({"must_be_asked": asked, **result, "code": None}, _flags((*missing, *more)))
    made = [LenkeCurve(curve.cobb_deg or 0.0, curve.bending_deg, curve.kyphosis_deg) for curve in curves.values()]
    found = lenke(*made, lumbar=told.lumbar, kyphosis_t5_t12_deg=told.kyphosis_t5_t12_deg)
    asks = [ask for name in found.missing for ask in _of_curve(name, curves)]
    result |= {
        "code": found.code,
        "type": found.type,
        "major": found.major,
        "structural": dict(found.structural),
        "lumbar": found.lumbar,
        "sagittal": found.sagittal,
        "source": found.source,
    }
    return Answer({"must_be_asked": [{"input": ask} for ask in asks], **result}, _flags(asks))


def _of_curve(missing: str, curves: dict[str, Curve]) -> list[str]:
    """The inputs that could still decide what Lenke's result calls "structural PT"."""
    if not missing.startswith("structural "):
        return [missing]
    name = {"PT": "pt", "MT": "mt", "TL/L": "tl"}[missing.removeprefix("structural ")]
    return [f"{name}.{field}" for field in ("bending_deg", "kyphosis_deg") if getattr(curves[name], field) is None]


def _flags(missing: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return (*((f"not told, must be asked: {', '.join(missing)}",) if missing else ()), _NO_ADVICE)


TOOL = Tool(
    name="score",
    description=(
        "Compute a published rule: TLICS, TL AOSIS, SLIC, SINS, OF score, SRS-Schwab or Lenke. Leave out what is not "
        "known: the reply lists what must be asked and which bands stay possible."
    ),
    arguments=ScoreArguments,
    run=run,
)
