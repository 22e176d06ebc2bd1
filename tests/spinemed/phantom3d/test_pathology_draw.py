"""Drawn pathologies stand together, follow their priors, come back from JSON, and bad combinations are refused."""

from collections import Counter

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from spinemed.anatomy import Disc, Level
from spinemed.errors import RecordError
from spinemed.phantom.pathology.config import FRACTURE_WEIGHTS, PathologyConfig, healthy_config
from spinemed.phantom.pathology.draw import draw_pathologies
from spinemed.phantom.pathology.records import (
    KINDS,
    Cage,
    CanalStenosis,
    DiscDegeneration,
    ForaminalStenosis,
    Fracture,
    Herniation,
    Lesion,
    Mimic,
    ModicChange,
    Osteophyte,
    Pathology,
    SchmorlNode,
    Screws,
    Slip,
)
from spinemed.phantom.pathology.validate import fracture_shape, validate_pathologies
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import SpinePhantom

L45, L51 = Disc(Level.L4, Level.L5), Disc(Level.L5, Level.S1)


@pytest.fixture(scope="module")
def healthy():
    return draw_spine(20, 1)


@pytest.fixture(scope="module")
def everything():
    """Sixty spines with every kind of pathology made common; drawing them also validates each."""
    names = [name for name in PathologyConfig.model_fields if name.endswith("_share")]
    mimics = dict.fromkeys(PathologyConfig().mimic_shares, 0.4)
    config = PathologyConfig.model_validate({**dict.fromkeys(names, 0.6), "mimic_shares": mimics})
    return [draw_pathologies(draw_spine(5, index), config, np.random.default_rng([5, index])) for index in range(60)]


def test_every_kind_is_drawn_and_reads_back_as_it_was(everything):
    adapter = TypeAdapter(Pathology)
    found = set()
    for spine in everything:
        assert SpinePhantom.model_validate_json(spine.model_dump_json()) == spine
        for item in spine.pathologies:
            assert adapter.validate_json(item.model_dump_json()) == item
            found.add(item.kind)
    assert found == set(KINDS)


def test_the_same_seed_draws_the_same(healthy):
    draws = [draw_pathologies(healthy, PathologyConfig(), np.random.default_rng(3)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert draws[0] != draw_pathologies(healthy, PathologyConfig(), np.random.default_rng(4))


def test_nothing_is_drawn_where_nothing_is_asked_for(healthy):
    assert draw_pathologies(healthy, healthy_config(), np.random.default_rng(0)) == healthy


def test_a_spine_is_drawn_into_once(healthy):
    ill = draw_pathologies(healthy, healthy_config(fracture_share=1.0), np.random.default_rng(0))
    with pytest.raises(RecordError, match="already has"):
        draw_pathologies(ill, PathologyConfig(), np.random.default_rng(0))


def fractures(spine, count, **changes):
    config = healthy_config(fracture_share=1.0, **changes)
    drawn = [draw_pathologies(spine, config, np.random.default_rng(seed)).pathologies for seed in range(count)]
    return [[item for item in items if isinstance(item, Fracture)] for items in drawn]


def test_fractures_peak_where_they_do_in_people(healthy):
    at = Counter(item.level for items in fractures(healthy, 400, fracture_adjacent_share=0.0) for item in items)
    assert {level for level, _ in at.most_common(2)} == {Level.T12, Level.L1}
    assert at[Level.T7] + at[Level.T8] > 1.5 * (at[Level.T5] + at[Level.T10])
    assert set(at) <= set(FRACTURE_WEIGHTS)


def test_severity_follows_its_weights(healthy):
    severe = fractures(healthy, 40, severity_weights={"severe": 1.0})
    worst = [max(f.anterior_loss_percent, f.middle_loss_percent, f.posterior_loss_percent) for s in severe for f in s]
    assert min(worst) >= 40
    assert max(worst) <= 70
    losses = [(f.anterior_loss_percent, f.middle_loss_percent, f.posterior_loss_percent) for s in severe for f in s]
    assert {fracture_shape(*each) for each in losses} == {"wedge", "biconcave", "crush"}


def test_adjacent_fractures_are_neighbours(healthy):
    drawn = fractures(healthy, 40, fracture_adjacent_share=1.0)
    order = [vertebra.level for vertebra in healthy.vertebrae]
    assert {len(items) for items in drawn} == {2, 3}
    for items in drawn:
        places = sorted(order.index(item.level) for item in items)
        assert places[-1] - places[0] == len(places) - 1


def test_slips_are_degenerative_at_l4_and_isthmic_at_the_sacrum(healthy):
    config = healthy_config(slip_share=1.0)
    drawn = [draw_pathologies(healthy, config, np.random.default_rng(seed)).pathologies[0] for seed in range(150)]
    forward = [item for item in drawn if isinstance(item, Slip) and item.direction == "anterior"]
    for kind, level in (("degenerative", Level.L4), ("isthmic", healthy.vertebrae[-1].level)):
        assert Counter(item.level for item in forward if item.type == kind).most_common(1)[0][0] == level
    assert 0.5 < len(forward) / len(drawn) < 1


def test_discs_wear_with_age_and_caudally(healthy):
    def grades(age):
        person = healthy.person.model_copy(update={"age_years": age})
        aged = healthy.model_copy(update={"person": person})
        config = healthy_config(degeneration=1.0)
        drawn = (draw_pathologies(aged, config, np.random.default_rng(seed)).pathologies for seed in range(30))
        return [{item.disc: item.pfirrmann for item in items} for items in drawn]

    def mean(draws, disc):
        return np.mean([draw.get(disc, 1) for draw in draws])

    young, old = grades(25.0), grades(85.0)
    assert mean(old, L45) > mean(young, L45) + 1
    assert mean(old, L45) > mean(old, Disc(Level.L1, Level.L2)) > mean(old, Disc(Level.T2, Level.T3))


def test_the_families_differ(healthy):
    shares = {}
    for family in ("a", "b"):
        spine = healthy.model_copy(update={"family": family})
        drawn = [item for items in fractures(spine, 120) for item in items]
        shares[family] = (
            np.mean([item.upper_share for item in drawn]),
            Counter(item.shape for item in drawn)["wedge"] / len(drawn),
        )
    assert shares["a"][0] > shares["b"][0] + 0.1
    assert shares["a"][1] > shares["b"][1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"fracture_share": 1.2},
        {"fracture_weights": {"T12": 0.0}},
        {"fracture_weights": {"C5": 1.0}},
        {"severity_weights": {"mild": 0.0}},
        {"mimic_shares": {"butterfly": 0.1}},
        {"unknown": 1},
    ],
)
def test_a_wrong_config_is_refused(wrong):
    with pytest.raises(ValidationError):
        PathologyConfig.model_validate(wrong)


# --- contradictions --------------------------------------------------------------------------------------------------


def wedge(level=Level.T12, **changes):
    losses = {"anterior_loss_percent": 30, "middle_loss_percent": 20, "posterior_loss_percent": 2}
    return Fracture(level=level, shape="wedge", **{**losses, **changes})


def focal(**changes):
    base = {"disc": L45, "type": "protrusion", "zone": "central", "depth_mm": 5, "base_mm": 10}
    return Herniation(**{**base, **changes})


BLOCK = Mimic(level=Level.L4, type="block_vertebra")
CONTRADICTIONS = {
    "fused in a block": (BLOCK, focal()),
    "which is fused with the next": (BLOCK, Slip(level=Level.L4, percent=10)),
    "two fractures of T12": (wedge(), wedge()),
    "a Schmorl node in the fractured": (
        wedge(),
        SchmorlNode(level=Level.T12, endplate="upper", depth_mm=4, radius_mm=5),
    ),
    "a limbus of the fractured": (Mimic(level=Level.T12, type="limbus"), wedge()),
    "two mimics at L4": (BLOCK, Mimic(level=Level.L4, type="short_height")),
    "whose disc a cage replaces": (Cage(disc=L45), DiscDegeneration(disc=L45, pfirrmann=3)),
    "share a level": (Screws(levels=(Level.L3, Level.L4)), Screws(levels=(Level.L4, Level.L5))),
    "two slips of L4": (Slip(level=Level.L4, percent=10), Slip(level=Level.L4, percent=20)),
    "two records of disc_degeneration": (
        DiscDegeneration(disc=L45, pfirrmann=3),
        DiscDegeneration(disc=L45, pfirrmann=4),
    ),
    "two grades of the left foramen": (ForaminalStenosis(disc=L45, side="left", lee=1, area_loss_percent=30),) * 2,
    "Scheuermann wedging of 2": tuple(Mimic(level=level, type="scheuermann") for level in (Level.T7, Level.T8)),
    "no wedge": (wedge(middle_loss_percent=35),),
    "are no crush": (wedge().model_copy(update={"shape": "crush"}),),
    "fills the canal": (wedge(retropulsion_mm=16),),
    "fracture of C2": (wedge(Level.C2),),
    "which has no body": (wedge(Level.C1),),
    "that lost 30 %": (DiscDegeneration(disc=L45, pfirrmann=2, height_loss_percent=30),),
    "has not collapsed": (DiscDegeneration(disc=L45, pfirrmann=5, height_loss_percent=10),),
    "a bulge over": (Herniation(disc=L45, type="bulge", zone="central", depth_mm=3, base_mm=20),),
    "above a quarter it is a bulge": (focal(base_mm=60),),
    "deeper than its base": (focal(depth_mm=9, base_mm=7),),
    "leaves no canal": (focal(type="extrusion", depth_mm=25),),
    "reaches the next disc": (focal(type="extrusion", migration_mm=60),),
    "lies at its disc": (focal(type="sequestration", migration_mm=2),),
    "Schizas B at": (CanalStenosis(disc=L45, schizas="B", area_loss_percent=80),),
    "use a lumbar disc": (CanalStenosis(disc=Disc(Level.C5, Level.C6), schizas="A", area_loss_percent=10),),
    "Lee 3 at": (ForaminalStenosis(disc=L45, side="left", lee=3, area_loss_percent=10),),
    "fills the body": (ModicChange(disc=L45, type=1, height_mm=25),),
    "over the endplate's rim": (SchmorlNode(level=Level.L2, endplate="upper", depth_mm=4, radius_mm=8, x_share=0.7),),
    "a pit 20 mm deep": (SchmorlNode(level=Level.L2, endplate="upper", depth_mm=20, radius_mm=5),),
    "a spur 20 mm long": (Osteophyte(level=Level.L2, endplate="upper", where="left", length_mm=20),),
    "a lesion of 60 mm": (Lesion(level=Level.L2, type="lytic", radius_mm=30),),
    "a slip of 0 %": (Slip(level=Level.L4, percent=0),),
    "isthmic slip to the back": (Slip(level=Level.L4, percent=10, direction="posterior", type="isthmic"),),
    "runs into the arch": (Slip(level=Level.L4, percent=80, direction="posterior"),),
    "the arch must be broken": (Slip(level=Level.L4, percent=80),),
    "not neighbours": (Screws(levels=(Level.L3, Level.L5)),),
    "pedicle screws in C5": (Screws(levels=(Level.C5, Level.C6), diameter_mm=3),),
    "in a pedicle": (Screws(levels=(Level.T5, Level.T6), diameter_mm=9),),
    "cupids_bow at T9": (Mimic(level=Level.T9, type="cupids_bow"),),
}


@pytest.mark.parametrize("problem", list(CONTRADICTIONS))
def test_contradictions_are_refused_with_the_record_named(healthy, problem):
    items = CONTRADICTIONS[problem]
    with pytest.raises(RecordError) as caught:
        validate_pathologies(healthy.model_copy(update={"pathologies": items}))
    assert problem in str(caught.value)
    assert caught.value.field is not None
    assert caught.value.field.startswith("pathologies[")
    assert caught.value.cure


def test_what_goes_together_is_accepted(healthy):
    items = (
        Mimic(level=Level.T12, type="physiological_wedging", amount=0.5),
        wedge(),
        Fracture(
            level=Level.L1, shape="crush", anterior_loss_percent=45, middle_loss_percent=50, posterior_loss_percent=40
        ),
        focal(type="extrusion", zone="subarticular", side="left", depth_mm=6, base_mm=5, migration_mm=-6),
        DiscDegeneration(disc=L45, pfirrmann=4, height_loss_percent=30),
        Slip(level=Level.L4, percent=22),
        ForaminalStenosis(disc=L45, side="left", lee=1, area_loss_percent=30),
        ForaminalStenosis(disc=L45, side="right", lee=0, area_loss_percent=5),
        ModicChange(disc=L51, type=2, height_mm=8),
    )
    validate_pathologies(healthy.model_copy(update={"pathologies": items}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"zone": "central", "side": "left"},
        {"zone": "foraminal", "side": None},
        {"zone": "central", "migration_mm": 4.0},
        {"type": "bulge", "zone": "foraminal"},
    ],
)
def test_a_herniation_is_coherent_by_itself(wrong):
    with pytest.raises(ValidationError):
        focal(**wrong)
