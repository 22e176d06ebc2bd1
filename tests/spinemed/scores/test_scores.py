"""Clinical scores against worked examples, at their edges, and with inputs that nobody told."""

from __future__ import annotations

import itertools

import pytest

from spinemed.anatomy import Level
from spinemed.errors import ScoreError
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
    of_grade,
    sins_location,
    srs_schwab,
)

SCORES = (TLICS, TL_AOSIS, SLIC, SLIC_INCOMPLETE_ONLY, SINS, OF_SCORE)

WORKED: tuple[tuple[AdditiveScore, str, int, str], ...] = (
    (TLICS, "burst indeterminate intact", 4, "either"),
    (TLICS, "distraction injured incomplete", 10, "operative"),
    # A quick-reference page gives a nerve root one point; the paper's own table gives two.
    (TLICS, "compression intact nerve_root", 3, "non-operative"),
    (TL_AOSIS, "A3 N0 M1", 4, "either"),
    (TL_AOSIS, "A4 N0 none", 5, "either"),
    (TL_AOSIS, "B2 N3 none", 10, "surgery"),
    (TL_AOSIS, "A1 N0 none", 1, "conservative"),
    # Not examinable has points of its own: it is neither intact nor unknown.
    (TL_AOSIS, "A1 NX none", 4, "either"),
    (TL_AOSIS, "C N4 M1", 13, "surgery"),
    (SLIC, "burst indeterminate incomplete yes", 7, "operative"),
    (SLIC, "compression indeterminate nerve_root no", 3, "non-operative"),
    (SLIC, "burst intact complete yes", 5, "operative"),
    (SLIC_INCOMPLETE_ONLY, "burst intact complete yes", 4, "either"),
    (SLIC, "burst intact intact yes", 2, "non-operative"),
    (SINS, "junctional mechanical lytic new_deformity collapse_above_half unilateral", 14, "unstable"),
    (SINS, "mobile none blastic normal none none", 2, "stable"),
    (SINS, "mobile occasional_non_mechanical mixed normal collapse_below_half none", 6, "stable"),
    (OF_SCORE, "OF3 t_below_minus_3 yes vas_5_or_more none no one_risk", 9, "surgery"),
    (OF_SCORE, "OF2 unknown no vas_below_5 none yes no_risk", 1, "conservative"),
)


@pytest.mark.parametrize(("rule", "code", "total", "band"), WORKED, ids=[f"{r.name} {c}" for r, c, _, _ in WORKED])
def test_worked_examples(rule: AdditiveScore, code: str, total: int, band: str) -> None:
    result = rule.score(**dict(zip(rule.items, code.split(), strict=True)))
    assert result.total == total
    assert result.code == code
    assert result.band is not None
    assert result.band.name == band
    assert result.missing == ()


@pytest.mark.parametrize("rule", SCORES, ids=lambda rule: rule.name)
def test_bands_leave_no_total_out(rule: AdditiveScore) -> None:
    for answers in itertools.product(*rule.items.values()):
        result = rule.score(**dict(zip(rule.items, answers, strict=True)))
        assert result.total is not None
        assert result.band is not None
        assert result.band.lowest <= result.total <= result.band.highest


@pytest.mark.parametrize("rule", SCORES, ids=lambda rule: rule.name)
def test_what_is_missing_leaves_open_exactly_what_it_could_decide(rule: AdditiveScore) -> None:
    first = {name: next(iter(answers)) for name, answers in rule.items.items()}
    for name, answers in rule.items.items():
        result = rule.score(**{**first, name: None})
        totals = {rule.score(**{**first, name: answer}).total for answer in answers}
        assert result.missing == (name,)
        assert result.total is None
        assert (result.lowest, result.highest) == (min(totals), max(totals))  # type: ignore[type-var]
        assert {band.name for band in result.bands} == {
            band.name for total in totals for band in rule.bands if total is not None
            and band.lowest <= total <= band.highest
        }  # fmt: skip


def test_a_missing_input_is_not_taken_for_normal() -> None:
    seen = SINS.score(location="mobile", lesion="lytic", alignment="normal", body="none", posterolateral="none")
    assert seen.missing == ("pain",)
    assert seen.total is None
    assert seen.band is None
    assert [band.name for band in seen.bands] == ["stable", "indeterminate"]
    decided = SINS.score(
        location="junctional", lesion="lytic", alignment="normal", body="none", posterolateral="bilateral"
    )
    assert decided.total is None
    assert decided.band is not None
    assert decided.band.name == "indeterminate"  # 8 to 11, whatever the patient says


def test_unknown_answers_are_named() -> None:
    with pytest.raises(ScoreError, match="field 'morphology': 'wedge' is no answer of TLICS 2005"):
        TLICS.score(morphology="wedge")
    with pytest.raises(ScoreError, match="has no input 'pain'"):
        TLICS.score(pain="none")


@pytest.mark.parametrize(
    ("level", "place"),
    [("C2", "junctional"), ("C3", "mobile"), ("C7", "junctional"), ("T2", "junctional"), ("T3", "semi_rigid"),
     ("T10", "semi_rigid"), ("T11", "junctional"), ("L1", "junctional"), ("L2", "mobile"), ("L5", "junctional"),
     ("S1", "junctional"), ("S2", "rigid"), ("L6", None), ("T13", None)],
)  # fmt: skip
def test_locations_of_sins(level: str, place: str | None) -> None:
    assert sins_location(Level(level)) == place


@pytest.mark.parametrize(
    ("told", "grade"),
    [
        ({"tension_band_failed": True, "endplates": "one", "frame_lost": False, "posterior_wall_share": 0.0}, "OF5"),
        ({"tension_band_failed": False, "endplates": "both", "frame_lost": False, "posterior_wall_share": 0.0}, "OF4"),
        ({"tension_band_failed": False, "endplates": "one", "frame_lost": True, "posterior_wall_share": 0.0}, "OF4"),
        ({"tension_band_failed": False, "endplates": "one", "frame_lost": False, "posterior_wall_share": 0.2}, "OF3"),
        ({"tension_band_failed": False, "endplates": "one", "frame_lost": False, "posterior_wall_share": 0.19}, "OF2"),
        (
            {"tension_band_failed": False, "endplates": "none", "frame_lost": False, "posterior_wall_share": 0.0,
             "oedema": True}, "OF1",
        ),
        ({"tension_band_failed": None, "endplates": "both", "frame_lost": True, "posterior_wall_share": 0.5}, None),
        ({"tension_band_failed": False, "endplates": "one", "frame_lost": False, "posterior_wall_share": None}, None),
        ({"tension_band_failed": False, "endplates": "none", "frame_lost": False, "posterior_wall_share": 0.0}, None),
    ],
)  # fmt: skip
def test_of_grades_are_decided_from_the_top_down(told: dict[str, object], grade: str | None) -> None:
    assert of_grade(**told) == grade  # type: ignore[arg-type]


def test_srs_schwab_worked_and_at_its_edges() -> None:
    worked = srs_schwab(thoracic_deg=20, lumbar_deg=22, pi_deg=60, ll_deg=35, sva_mm=70, pt_deg=28)
    assert worked.code == "N; PI-LL ++; SVA +; PT +"
    edges = srs_schwab(thoracic_deg=30, lumbar_deg=29.9, pi_deg=50, ll_deg=40, sva_mm=95, pt_deg=20)
    assert edges.code == "T; PI-LL +; SVA +; PT +"
    above = srs_schwab(thoracic_deg=30, lumbar_deg=45, pi_deg=50, ll_deg=29.9, sva_mm=95.1, pt_deg=30.1)
    assert above.code == "D; PI-LL ++; SVA ++; PT ++"
    open_ = srs_schwab(pi_deg=50, sva_mm=10)
    assert open_.code == "?; PI-LL ?; SVA 0; PT ?"
    assert open_.missing == ("thoracic_deg", "lumbar_deg", "ll_deg", "pt_deg")
    with pytest.raises(ScoreError, match="thoracic_deg"):
        srs_schwab(thoracic_deg=-3)


@pytest.mark.parametrize(
    ("pt", "mt", "tl", "number"),
    [
        ((20, 10, 5), (50, 30, 10), (30, 10, 5), 1),
        ((35, 30, 5), (50, 30, 10), (30, 10, 5), 2),
        # A residual curve of 24 with little kyphosis is not structural; one of 26 is.
        ((28, 24, 12), (60, None, None), (42, 26, 5), 3),
        ((35, 26, 5), (60, 40, 5), (42, 26, 5), 4),
        ((10, 5, 5), (30, 10, 5), (45, 30, 5), 5),
        ((10, 5, 5), (40, 26, 5), (45, 30, 5), 6),
        ((35, 26, 5), (40, 26, 5), (45, 30, 5), 4),
        # Kyphosis alone makes a curve structural, however straight it bends.
        ((20, 10, 20), (50, 30, 10), (30, 10, 5), 2),
    ],
)
def test_lenke_types(
    pt: tuple[float, float, float], mt: tuple[float, float | None, float | None], tl: tuple[float, float, float],
    number: int,
) -> None:  # fmt: skip
    assert lenke(LenkeCurve(*pt), LenkeCurve(*mt), LenkeCurve(*tl)).type == number


def test_lenke_modifiers_and_what_is_missing() -> None:
    straight, main, low = LenkeCurve(10, 5, 5), LenkeCurve(50), LenkeCurve(20, 5, 5)
    codes = [lenke(straight, main, low, lumbar="A", kyphosis_t5_t12_deg=angle).code for angle in (9, 10, 40, 41, -5)]
    assert codes == ["1A-", "1AN", "1AN", "1A+", "1A-"]
    unknown = lenke(LenkeCurve(28), main, low)
    assert unknown.type is None
    assert unknown.code == "???"
    assert unknown.missing == ("structural PT", "lumbar", "kyphosis_t5_t12_deg")
    # One of two is enough where it says yes, and not where it says no.
    assert lenke(LenkeCurve(28, None, 25), main, low).type == 2
    assert lenke(LenkeCurve(28, 10, None), main, low).type is None
    with pytest.raises(ScoreError, match="has no type"):
        lenke(LenkeCurve(35, 30, 5), LenkeCurve(20, 5, 5), LenkeCurve(45))
    with pytest.raises(ScoreError, match="field 'MT': -1"):
        lenke(straight, LenkeCurve(-1), low)
