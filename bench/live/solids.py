"""Questions on three-dimensional phantoms: slips, discs, lesions, angles, whole columns, what an image cannot show.

Convention: truth comes from the findings of `describe`, which knows modality, plane and slice; a finding that is not
"assessable" there is asked only where the answer is that it cannot be determined.

Trap: borders. A grade is asked only where its amount is at least three points from every border, because a reader
within tolerance of a measurement must not miss the grade.
"""

from __future__ import annotations

from typing import Literal

from bench.live.case import Case, live_templates, shared_templates
from bench.live.difficulty import of_counting, of_grade, of_measurement
from bench.live.levels import ask_level, column_line
from bench.live.pictures import arrow, number
from bench.live.solid import Solid, View, draw_solid
from spinemed.anatomy import Disc, Level, Region
from spinemed.measure.grades import meyerding_grade
from spinemed.phantom.pathology.records import DiscDegeneration, Fracture, Lesion, Mimic, ModicChange, SchmorlNode, Slip
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.questions import QuestionDraft
from spinemed.questions.counting import COLUMN_COUNTS
from spinemed.questions.draft import KEYS, as_options, compose
from spinemed.records import NOT_DETERMINABLE

__all__ = [
    "ANGLE_DEG",
    "SLIP_POINTS",
    "alignment_recipe",
    "angle_of",
    "choice",
    "disc_recipe",
    "full_recipe",
    "lesion_recipe",
    "modality_recipe",
    "slip_of",
    "slip_recipe",
    "with_arrow",
]

ANGLE_DEG = 5.0
SLIP_POINTS = 3.0
_MEYERDING = (25.0, 50.0, 75.0)
_ROMAN = {"I": "1", "II": "2", "III": "3", "IV": "4", "V": "5"}
_VARIANTS = {"L6": 0.15, "four_lumbar": 0.1, "T13": 0.1, "eleven_thoracic": 0.05}


def choice(name: str) -> str:
    """The text of an option."""
    return live_templates()[name].question(0, {})


def with_arrow(view: View, level: Level) -> View:
    """The view with an arrow at a body."""
    return _pointed(view, view.body(level), view.reach_px(level))


def _pointed(view: View, at: tuple[float, float], reach: float) -> View:
    picture = arrow(view.picture, at, reach, from_right=view.arrows_from_right)
    return View(picture, view.points, view.description, view.spacing_mm, view.across, view.faces)


def full_recipe(case: Case) -> None:
    """Two questions on a whole column from C2 to the sacrum: a marked vertebra, and how many there are."""
    solid = draw_solid(case, variant_shares=_VARIANTS)
    view = solid.mr("T2", "full") if case.coin() else solid.ct("full")
    shown = [level for level in view.visible if Level.C3 <= level < Level.S1]
    level = shown[int(case.rng.integers(len(shown)))]
    steps = min(solid.column.distance(level, Level.C2), solid.column.distance(level, Level.S1))
    common = {"evidence": solid.spine, "cluster": solid.name, "spine": solid.column, "tags": ("anchor:C2",)}
    line = column_line(case, solid.column)
    case.ask(
        ask_level(level, case.rng), pictures=[with_arrow(view, level).picture], context=[line],
        difficulty=of_counting(steps, regular=solid.column.is_regular), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    draft = compose(
        shared_templates()["presacral_count"],
        case.rng,
        axis="level_identification",
        task="category",
        answer=str(7 + solid.spine.thoracic + solid.spine.lumbar),
        answer_kind="category",
        categories=COLUMN_COUNTS,
    )
    # The column's tag would tell the count to nobody but the scorer; it stays.
    case.ask(draft, pictures=[view.picture], difficulty="hard", **common)  # type: ignore[arg-type]


def slip_of(spine: SpinePhantom) -> Slip | None:
    """The slip of a spine, if it has one."""
    return next((item for item in spine.pathologies if isinstance(item, Slip)), None)


def slip_recipe(case: Case) -> None:
    """Two questions on a slip: its size in percent, and its grade or direction."""

    def fits(spine: SpinePhantom) -> bool:
        slip = slip_of(spine)
        return (
            slip is not None
            and slip.level >= Level.L1
            and slip.percent >= 8.0
            and all(abs(slip.percent - border) >= SLIP_POINTS for border in _MEYERDING)
        )

    solid = draw_solid(case, fits, pathology={"slip_share": 1.0, "posterior_slip_share": 0.3})
    slip = slip_of(solid.spine)
    assert slip is not None
    view = solid.radiograph("lateral") if case.coin() else solid.mr("T2")
    lower = solid.column.shift(slip.level, 1)
    if case.config.volumes:
        case.volumes = {f"volumes/{solid.name}/{name}.nii.gz": mask for name, mask in solid.masks().items()}
    line = column_line(case, solid.column)
    names = {"upper": slip.level.value, "lower": lower.value}
    common = {
        "evidence": solid.spine, "cluster": solid.name, "spine": solid.column, "context": [line],
        "pictures": [view.picture], "tags": ("anchor:sacrum", "finding:slip"),
    }  # fmt: skip
    draft = compose(
        live_templates()["live_slip_percent"],
        case.rng,
        axis="pathology",
        task="measurement",
        answer=f"{round(slip.percent, 1):.10g}",
        answer_kind="number",
        values=names,
        levels=(slip.level, lower),
        tags=("tool:measure", "measure:slip", *(("volume",) if case.volumes else ())),
    )
    case.ask(
        draft, unit="percent", tolerance=SLIP_POINTS, difficulty=of_measurement(slip.percent, SLIP_POINTS), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    easy = of_grade(slip.percent, _MEYERDING, width=25.0)
    if slip.direction == "anterior" and case.coin():
        grade = meyerding_grade(slip.percent)
        assert grade is not None
        draft = compose(
            live_templates()["live_meyerding"],
            case.rng,
            axis="pathology",
            task="category",
            answer=_ROMAN[grade],
            answer_kind="category",
            categories=("1", "2", "3", "4", "5", NOT_DETERMINABLE),
            values=names,
            levels=(slip.level, lower),
            tags=("scale:meyerding",),
        )
        case.ask(draft, difficulty=easy, **common)  # type: ignore[arg-type]
        return
    case.ask(_slip_choice(case, solid, slip), difficulty=easy, **common)  # type: ignore[arg-type]


def _slip_choice(case: Case, solid: Solid, slip: Slip) -> QuestionDraft:
    """How does one vertebra stand on the next? Sometimes of a pair that stands in line."""
    level, direction = slip.level, f"choice_slip_{slip.direction}"
    if case.coin(0.3):
        others = [one for one in solid.column.levels if one.region is Region.LUMBAR]
        others = [one for one in others if solid.column.distance(one, slip.level) > 1]
        level, direction = others[int(case.rng.integers(len(others)))], "choice_slip_none"
    texts = ["choice_slip_anterior", "choice_slip_posterior", "choice_slip_none", "option_cannot"]
    order = [texts[int(k)] for k in case.rng.permutation(3)] + texts[3:]
    lower = solid.column.shift(level, 1)
    return compose(
        live_templates()["live_slip_choice"],
        case.rng,
        axis="pathology",
        task="multiple_choice",
        answer=KEYS[order.index(direction)],
        answer_kind="option",
        options=as_options([choice(name) for name in order]),
        values={"upper": level.value, "lower": lower.value},
        levels=(level, lower),
        tags=("distractors:opposite_direction",),
    )


def _worn(spine: SpinePhantom) -> dict[Disc, int]:
    """Pfirrmann grade of each disc; what is not recorded is healthy."""
    found = {shape.disc: 1 for shape in spine.discs}
    found.update({item.disc: item.pfirrmann for item in spine.pathologies if isinstance(item, DiscDegeneration)})
    return found


def _lumbar_discs(solid: Solid, view: View) -> list[Disc]:
    return [
        shape.disc for shape in solid.spine.discs
        if shape.disc.upper >= Level.T12 and shape.disc.upper in view.visible and shape.disc.lower in view.visible
    ]  # fmt: skip


def disc_recipe(case: Case) -> None:
    """Two questions on discs in MR: a Pfirrmann grade, and which disc is the worst or a Modic type."""

    def fits(spine: SpinePhantom) -> bool:
        grades = [grade for disc, grade in _worn(spine).items() if disc.upper >= Level.L1]
        if asks_modic:
            return any(isinstance(item, ModicChange) and item.disc.upper >= Level.L1 for item in spine.pathologies)
        return grades.count(max(grades)) == 1 and max(grades) >= 3

    asks_modic = case.coin()
    share = 1.0 if asks_modic else 0.0
    solid = draw_solid(case, fits, pathology={"degeneration": 1.2, "modic_share": share}, age_years=(35.0, 85.0))
    view, worn = solid.mr("T2"), _worn(solid.spine)
    discs = _lumbar_discs(solid, view)
    # Each grade that is there has the same chance: else most answers would be the usual grade of the middle.
    there = sorted({worn[one] for one in discs})
    grade = there[int(case.rng.integers(len(there)))]
    alike = [one for one in discs if worn[one] == grade]
    disc = alike[int(case.rng.integers(len(alike)))]
    common = {"evidence": solid.spine, "cluster": solid.name, "spine": solid.column}
    case.ask(
        _pfirrmann(case, str(worn[disc]), disc), pictures=[_at_disc(view, disc).picture],
        difficulty="easy" if worn[disc] in (1, 5) else "medium", tags=("finding:disc",), **common,  # type: ignore[arg-type]
    )  # fmt: skip
    modic = next(
        (item for item in solid.spine.pathologies if isinstance(item, ModicChange) and item.disc in discs), None
    )
    if modic is not None:
        first = solid.mr("T1")
        pair = [_at_disc(one, modic.disc).picture for one in (first, view)]
        case.ask(
            _modic(case, str(modic.type), modic.disc), pictures=pair, difficulty="medium", tags=("finding:modic",),
            **common,  # type: ignore[arg-type]
        )  # fmt: skip
        return
    discs = [one for one in discs if one.upper >= Level.L1]  # among these the worst one is alone
    worst = max(discs, key=lambda one: worn[one])
    four = sorted(sorted(discs, key=lambda one: solid.column.distance(one, worst))[:4], key=lambda one: one.upper)
    order = [four[int(k)] for k in case.rng.permutation(len(four))]
    picture = view.picture
    for place, one in enumerate(order, 1):
        x, y = view.disc(one)
        picture = number(picture, (x - view.reach_px(one.upper) - 10.0, y), str(place))
    draft = compose(
        live_templates()["live_disc_where"],
        case.rng,
        axis="pathology",
        task="multiple_choice",
        answer=KEYS[order.index(worst)],
        answer_kind="option",
        options=as_options([f"mark {place}" for place in range(1, len(order) + 1)]),
        levels=(worst.upper, worst.lower),
        tags=("distractors:neighbouring_discs", "finding:disc"),
    )
    second = sorted(worn[one] for one in four)[-2]
    difficulty = "easy" if worn[worst] - second >= 2 else "medium"
    case.ask(draft, pictures=[picture], difficulty=difficulty, **common)  # type: ignore[arg-type]


def _at_disc(view: View, disc: Disc) -> View:
    return _pointed(view, view.disc(disc), max(view.reach_px(disc.upper), 14.0))


def _disc_grade(case: Case, scale: str, grades: tuple[str, ...], answer: str, disc: Disc | None) -> QuestionDraft:
    return compose(
        live_templates()[f"live_{scale}"],
        case.rng,
        axis="pathology",
        task="category",
        answer=answer,
        answer_kind="category",
        categories=(*grades, NOT_DETERMINABLE),
        levels=() if disc is None else (disc.upper, disc.lower),
        tags=(f"scale:{scale}",),
    )


def _pfirrmann(case: Case, answer: str, disc: Disc | None) -> QuestionDraft:
    return _disc_grade(case, "pfirrmann", ("1", "2", "3", "4", "5"), answer, disc)


def _modic(case: Case, answer: str, disc: Disc | None) -> QuestionDraft:
    return _disc_grade(case, "modic", ("none", "1", "2", "3"), answer, disc)


_SEEN = ("lytic", "blastic", "schmorl", "wedge", "limbus", "block", "healthy")
_OFFERED = 5
_DRAWN: dict[str, dict[str, object]] = {
    "lytic": {"lesion_share": 1.0},
    "blastic": {"lesion_share": 1.0},
    "schmorl": {"schmorl_share": 1.0},
    "wedge": {"fracture_share": 1.0, "severity_weights": {"moderate": 0.6, "severe": 0.4}},
    "limbus": {"mimic_shares": {"limbus": 1.0}},
    "block": {"mimic_shares": {"block_vertebra": 1.0}},
    "healthy": {"fracture_share": 0.5, "schmorl_share": 0.5},
}


def lesion_recipe(case: Case) -> None:
    """One question on a marked vertebra in CT, among look-alikes: lesions, nodes, fractures, variants, nothing."""
    wanted = case.pick(_SEEN)

    def target(spine: SpinePhantom) -> Level | None:
        for item in spine.pathologies:
            if not hasattr(item, "level") or not Level.T12 <= item.level <= Level.L5:
                continue
            if isinstance(item, Lesion) and item.type == wanted and abs(item.x_share) < 0.25 and item.radius_mm > 4.5:
                return item.level
            if isinstance(item, SchmorlNode) and wanted == "schmorl" and abs(item.x_share) < 0.25 and item.depth_mm > 3:
                return item.level
            if isinstance(item, Fracture) and wanted == "wedge" and item.shape == "wedge":
                return item.level
            if isinstance(item, Mimic) and item.type.startswith(wanted) and item.amount > 0.5:
                return item.level
        if wanted == "healthy":
            touched = {getattr(item, "level", None) for item in spine.pathologies}
            return next((level for level in (Level.L3, Level.L2, Level.L4, Level.L1) if level not in touched), None)
        return None

    def fits(spine: SpinePhantom) -> bool:
        level = target(spine)
        at = [item for item in spine.pathologies if getattr(item, "level", None) is level]
        return level is not None and len(at) == (wanted != "healthy")

    solid = draw_solid(case, fits, pathology=_DRAWN[wanted])
    level = target(solid.spine)
    assert level is not None
    view = solid.ct()
    others = [name for name in _SEEN if name != wanted]
    offered = [wanted, *(others[int(k)] for k in case.rng.permutation(len(others))[: _OFFERED - 1])]
    order = [offered[int(k)] for k in case.rng.permutation(_OFFERED)]
    draft = compose(
        live_templates()["live_lesion"],
        case.rng,
        axis="pathology",
        task="multiple_choice",
        answer=KEYS[order.index(wanted)],
        answer_kind="option",
        options=as_options([choice(f"choice_seen_{name}") for name in order]),
        levels=(level,),
        tags=("distractors:look_alikes", f"finding:{wanted}"),
    )
    case.ask(
        draft, pictures=[with_arrow(view, level).picture], difficulty="medium", evidence=solid.spine,
        cluster=solid.name, spine=solid.column,
    )  # fmt: skip


def alignment_recipe(case: Case) -> None:
    """Two angles in a standing lateral radiograph: lordosis and sacral slope."""
    solid = draw_solid(case)
    view = solid.radiograph("lateral")
    line = column_line(case, solid.column)
    common = {
        "evidence": solid.spine, "cluster": solid.name, "spine": solid.column, "pictures": [view.picture],
        "context": [line], "unit": "deg", "tolerance": ANGLE_DEG,
    }  # fmt: skip
    for name, finding, levels in (
        ("live_lordosis", "lordosis_l1_s1", (Level.L1, Level.S1)),
        ("live_sacral_slope", "sacral_slope", (Level.S1,)),
    ):
        angle = angle_of(view, finding)
        draft = compose(
            live_templates()[name],
            case.rng,
            axis="pathology",
            task="measurement",
            answer=f"{round(angle, 1):.10g}",
            answer_kind="number",
            levels=levels,
            tags=("tool:measure", f"measure:{finding}"),
        )
        case.ask(draft, difficulty=of_measurement(angle, ANGLE_DEG), **common)  # type: ignore[arg-type]


def angle_of(view: View, name: str) -> float:
    """An angle that a view's findings state."""
    return next(item.amount(name) for item in view.description.visible if item.category == name)


def modality_recipe(case: Case) -> None:
    """One question whose grade or size this kind of picture cannot show."""
    kind: Literal["pfirrmann", "modic", "slip"] = case.pick(("pfirrmann", "modic", "slip"))  # type: ignore[assignment]
    if kind == "slip":
        solid = draw_solid(case, lambda one: slip_of(one) is not None, pathology={"slip_share": 1.0})
        slip = slip_of(solid.spine)
        assert slip is not None
        view = solid.radiograph("frontal")
        draft = compose(
            live_templates()["live_slip_percent"],
            case.rng,
            axis="pathology",
            task="measurement",
            answer=NOT_DETERMINABLE,
            answer_kind="number",
            values={"upper": slip.level.value, "lower": solid.column.shift(slip.level, 1).value},
            tags=("measure:slip",),
        )
        case.ask(
            draft, pictures=[view.picture], context=[column_line(case, solid.column)], unit="percent",
            tolerance=SLIP_POINTS, difficulty="hard", undecidable=True, evidence=solid.spine, cluster=solid.name,
            spine=solid.column, need="helpful", tags=("why:modality",),
        )  # fmt: skip
        return
    solid = draw_solid(case, pathology={"degeneration": 1.2, "modic_share": 1.0}, age_years=(35.0, 85.0))
    view = solid.mr("T2") if kind == "modic" else solid.ct()
    discs = _lumbar_discs(solid, view)
    disc = discs[int(case.rng.integers(len(discs)))]
    draft = (_modic if kind == "modic" else _pfirrmann)(case, NOT_DETERMINABLE, None)
    case.ask(
        draft, pictures=[_at_disc(view, disc).picture], difficulty="hard", undecidable=True, evidence=solid.spine,
        cluster=solid.name, spine=solid.column, need="helpful", tags=("why:modality",),
    )  # fmt: skip
