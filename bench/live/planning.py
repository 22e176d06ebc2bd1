"""Questions on planning, with truth from the rules in `spinemed.scores`: arithmetic, category, what is missing.

Convention: a vignette states every input in plain words (`vignettes.yaml`); the answer is what the rule's function
returns. Where the paper leaves a total open ("either"), the grey zone is the right answer. With an input left out on
which the band depends, the right answer names what must be asked, and is of those that cannot be decided.

Trap: both kinds offer the same options, so that "cannot be determined" is not the answer whenever it is offered.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from bench.live.case import Case, live_templates, shared_templates
from bench.live.difficulty import of_rule
from bench.live.flat import draw_flat
from bench.live.levels import VARIANTS, column_line, marked, roomy
from bench.live.solid import draw_solid
from bench.live.solids import angle_of, choice
from spinemed.anatomy import Level
from spinemed.questions import construct, span_text
from spinemed.questions.draft import KEYS, QuestionDraft, as_options, compose
from spinemed.records import NOT_DETERMINABLE, content_hash
from spinemed.scores import (
    OF_SCORE,
    SINS,
    SLIC,
    TL_AOSIS,
    TLICS,
    AdditiveScore,
    LenkeCurve,
    ScoreResult,
    lenke,
    sins_location,
    srs_schwab,
)

__all__ = ["RULES", "ask_band", "ask_total", "missing_recipe", "planning_image_recipe", "planning_recipe", "vignettes"]

RULES: tuple[AdditiveScore, ...] = (TLICS, TL_AOSIS, SLIC, SINS, OF_SCORE)
_MOST_INCIDENCE_DEG = 82.0
"""Above this a pelvic incidence would be a rarity that gives the answer away."""


@cache
def vignettes() -> dict[str, dict[str, dict[str, str]]]:
    """Rule, input, answer: what a vignette says; `ask` names the input."""
    found: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(
        Path(__file__).with_name("vignettes.yaml").read_text(encoding="utf-8")
    )
    return found


def _told(case: Case, rule: AdditiveScore) -> dict[str, str | None]:
    """One answer to each input, drawn among those that have words."""
    words = vignettes()[rule.name]
    told: dict[str, str | None] = {}
    for name in rule.items:
        told[name] = case.pick([answer for answer in words[name] if answer != "ask"])
    if told.get("ongoing_compression") == "yes" and told["neurology"] == "intact":
        told["ongoing_compression"] = "no"  # cord compression without a deficit is another story
    return told


def _lines(rule: AdditiveScore, told: dict[str, str | None]) -> list[str]:
    words = vignettes()[rule.name]
    return [" ".join(words[name][answer] for name, answer in told.items() if answer is not None)]


def planning_recipe(case: Case) -> None:
    """One question on a rule without a picture: a total, a band, a Lenke type or an SRS-Schwab code."""
    kind = case.pick(("total", "band", "band", "lenke", "schwab"))
    if kind == "lenke":
        _ask_lenke(case)
    elif kind == "schwab":
        _ask_schwab(case)
    else:
        rule = RULES[int(case.rng.integers(len(RULES)))]
        told = _told(case, rule)
        if kind == "total":
            ask_total(case, rule, told)
        else:
            # Each band has the same chance, so that the grey zone comes as often as the clear ones.
            wanted = rule.bands[int(case.rng.integers(len(rule.bands)))]
            while rule.score(**told).band != wanted:
                told = _told(case, rule)
            ask_band(case, rule, told, rule.score(**told), case.pick(list(rule.items)))


def missing_recipe(case: Case) -> None:
    """One question on a rule of which an input that decides is not told."""
    while True:
        rule = RULES[int(case.rng.integers(len(RULES)))]
        told = _told(case, rule)
        missing = case.pick(list(rule.items))
        result = rule.score(**{**told, missing: None})
        if len(result.bands) > 1:
            break
    told[missing] = None
    if case.coin(0.3):
        ask_total(case, rule, told)
    else:
        ask_band(case, rule, told, result, missing)


def ask_total(case: Case, rule: AdditiveScore, told: dict[str, str | None]) -> None:
    """What is the total? Not determinable where an input is not told."""
    result = rule.score(**told)
    draft = compose(
        live_templates()["live_rule_total"],
        case.rng,
        axis="surgical_planning",
        task="measurement",
        answer=NOT_DETERMINABLE if result.total is None else str(result.total),
        answer_kind="number",
        values={"rule": rule.name},
        tags=(f"rule:{rule.name}", "tool:score", *(f"ask:{name}" for name in result.missing)),
    )
    case.ask(
        draft, context=_lines(rule, told), evidence=_hash(rule, told), undecidable=result.total is None,
        tolerance=0.0, tags=("why:missing_input",) if result.missing else (),
        difficulty="hard" if result.missing else of_rule(len(rule.items)),
    )  # fmt: skip


def ask_band(case: Case, rule: AdditiveScore, told: dict[str, str | None], result: ScoreResult, named: str) -> None:
    """Every band, and two inputs that one might have to ask for, one of them `named`."""
    words = vignettes()[rule.name]
    second = case.pick([name for name in rule.items if name != named])
    asks = sorted((named, second), key=list(rule.items).index)
    ways_out = [live_templates()["option_must_ask"].question(0, {"missing": words[name]["ask"]}) for name in asks]
    # The statement alone: a band that is called "indeterminate" is no answer that cannot be determined.
    texts = [band.statement for band in rule.bands] + ways_out
    if result.band is not None:
        place = rule.bands.index(result.band)
    else:
        place = len(rule.bands) + asks.index(named)
    draft = compose(
        live_templates()["live_rule_band"],
        case.rng,
        axis="surgical_planning",
        task="multiple_choice",
        answer=KEYS[place],
        answer_kind="option",
        options=as_options(texts),
        values={"rule": rule.name},
        tags=(f"rule:{rule.name}", "tool:score", *(f"ask:{name}" for name in result.missing)),
    )
    open_ = result.band is None
    case.ask(
        draft, context=_lines(rule, told), evidence=_hash(rule, told), undecidable=open_,
        tags=("why:missing_input",) if open_ else (), difficulty="hard" if open_ else of_rule(len(rule.items)),
    )  # fmt: skip


def _hash(rule: AdditiveScore, told: dict[str, str | None]) -> str:
    return f"sha256:{content_hash({'rule': rule.name, 'told': told})}"


def _ask_lenke(case: Case) -> None:
    """Three curves in numbers, and the type."""
    while True:
        pt, mt, tl = (float(case.rng.integers(*span)) for span in ((15, 40), (30, 75), (25, 70)))
        if abs(mt - tl) < 5 or pt >= max(mt, tl):
            continue
        bent = [round(float(cobb * case.rng.uniform(0.3, 0.9))) for cobb in (pt, mt, tl)]
        if any(abs(one - 25) < 2 for one in bent):
            continue
        kyphosis = [float(case.rng.integers(2, 16)) for _ in range(3)]
        if tl > mt and bent[0] >= 25 and bent[1] < 25:
            continue  # has no type
        break
    curves = [LenkeCurve(*one) for one in zip((pt, mt, tl), map(float, bent), kyphosis, strict=True)]
    result = lenke(curves[0], curves[1], curves[2], lumbar="B", kyphosis_t5_t12_deg=25.0)
    template = live_templates()["live_lenke_told"]
    values = {
        f"{name}_{part}": f"{value:g}"
        for name, curve in zip(("pt", "mt", "tl"), curves, strict=True)
        for part, value in (("cobb", curve.cobb_deg), ("bent", curve.bending_deg), ("kyphosis", curve.kyphosis_deg))
    }
    line = template.question(0, values)
    draft = compose(
        live_templates()["live_lenke"],
        case.rng,
        axis="surgical_planning",
        task="category",
        answer=str(result.type),
        answer_kind="category",
        categories=("1", "2", "3", "4", "5", "6", NOT_DETERMINABLE),
        tags=("scale:lenke", "rule:Lenke 2001", "tool:score"),
    )
    case.ask(draft, context=[line], evidence=f"sha256:{content_hash({'lenke': line})}", difficulty=of_rule(6))


def _ask_schwab(case: Case) -> None:
    """Six measurements in numbers, and the code; wrong codes differ in one or two modifiers."""
    rng = case.rng
    told = {
        "thoracic_deg": float(rng.integers(5, 60)), "lumbar_deg": float(rng.integers(5, 60)),
        "pi_deg": float(rng.integers(40, 70)), "ll_deg": float(rng.integers(20, 65)),
        "sva_mm": float(rng.integers(0, 140)), "pt_deg": float(rng.integers(8, 40)),
    }  # fmt: skip
    told["thoracic_deg"] += 1.0 if told["thoracic_deg"] == 30 else 0.0  # the papers leave exactly 30 open
    told["lumbar_deg"] += 1.0 if told["lumbar_deg"] == 30 else 0.0
    right = srs_schwab(**told)
    steps = {"0": ("+",), "+": ("0", "++"), "++": ("+",)}
    wrong = [
        f"{right.curve}; PI-LL {pi}; SVA {sva}; PT {pt}"
        for pi, sva, pt in (
            *((one, right.sva, right.pt) for one in steps[right.pi_minus_ll]),
            *((right.pi_minus_ll, one, right.pt) for one in steps[right.sva]),
            *((right.pi_minus_ll, right.sva, one) for one in steps[right.pt]),
        )
    ]
    chosen = [wrong[int(k)] for k in rng.permutation(len(wrong))[:3]]
    texts = sorted([right.code, *chosen])
    line = live_templates()["live_schwab_told"].question(0, {name: f"{value:g}" for name, value in told.items()})
    draft = compose(
        live_templates()["live_schwab"],
        rng,
        axis="surgical_planning",
        task="multiple_choice",
        answer=KEYS[texts.index(right.code)],
        answer_kind="option",
        options=as_options(texts),
        tags=("rule:SRS-Schwab 2012", "tool:score", "distractors:one_modifier"),
    )
    case.ask(draft, context=[line], evidence=f"sha256:{content_hash(told)}", difficulty=of_rule(6))


def planning_image_recipe(case: Case) -> None:
    """One question on a rule with an input that must be read from the picture."""
    kind = case.pick(("sins", "construct", "pi_ll"))
    if kind == "pi_ll":
        _ask_pi_minus_ll(case)
        return
    view = draw_flat(
        case,
        lambda one: one.sacrum_seen and roomy(one, one.draw.focus) and _has_answer(one.draw.focus, kind),
        variant_shares={} if kind == "sins" else VARIANTS, sacrum_cropped_share=0.0, mirrored_share=0.3,
        fracture_share=0.0,
    )  # fmt: skip
    level, line = view.draw.focus, column_line(case, view.spine)
    draft: QuestionDraft
    if kind == "construct":
        span = construct(view.spine, level)
        assert span is not None
        draft = compose(
            shared_templates()["construct_supposed"],
            case.rng,
            axis="surgical_planning",
            task="construct",
            answer=span_text(*span),
            answer_kind="levels",
            levels=span,
        )
        context = [line]
    else:
        told = _told(case, SINS)
        told["location"] = None
        rest = _lines(SINS, told)
        told["location"] = sins_location(level)
        total = SINS.score(**told).total
        assert total is not None
        draft = compose(
            live_templates()["live_sins_seen"],
            case.rng,
            axis="surgical_planning",
            task="measurement",
            answer=str(total),
            answer_kind="number",
            levels=(level,),
            tags=("rule:SINS 2010", "tool:score"),
        )
        context = [line, *rest]
    case.ask(
        draft, pictures=[marked(view, level)], context=context, evidence=view.draw, cluster=view.draw.phantom_id,
        spine=view.spine, difficulty=of_rule(6 if kind == "sins" else 2, from_picture=True),
        tolerance=0.0 if kind == "sins" else None, tags=("anchor:sacrum",),
    )  # fmt: skip


def _has_answer(level: Level, kind: str) -> bool:
    return kind == "construct" or sins_location(level) is not None


def _ask_pi_minus_ll(case: Case) -> None:
    solid = draw_solid(case)
    view = solid.radiograph("lateral")
    lordosis = angle_of(view, "lordosis_l1_s1")
    # The incidence told puts the difference into the middle of a bin, beyond a reader's tolerance of 5 degrees.
    targets = [one for one in (4.0, 15.0, 27.0) if lordosis + one <= _MOST_INCIDENCE_DEG] or [4.0]
    incidence = round(lordosis + targets[int(case.rng.integers(len(targets)))])
    right = srs_schwab(pi_deg=float(incidence), ll_deg=lordosis).pi_minus_ll
    texts = [choice(f"option_pi_ll_{name}") for name in ("0", "+", "++")] + [choice("option_cannot")]
    draft = compose(
        live_templates()["live_pi_minus_ll"],
        case.rng,
        axis="surgical_planning",
        task="multiple_choice",
        answer=KEYS[("0", "+", "++").index(right)],
        answer_kind="option",
        options=as_options(texts),
        values={"incidence": str(incidence)},
        levels=(Level.L1, Level.S1),
        tags=("rule:SRS-Schwab 2012", "tool:measure"),
    )
    case.ask(
        draft, pictures=[view.picture], context=[column_line(case, solid.column)], evidence=solid.spine,
        cluster=solid.name, spine=solid.column, difficulty=of_rule(2, from_picture=True),
    )  # fmt: skip
