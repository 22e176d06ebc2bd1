"""`draw_spine`: one healthy spine, every number of it, from a seed and an index.

Convention: item `index` of seed `seed` has generators of its own, one per topic (`SeedSequence(seed, spawn_key=(index,
topic))`), so that it depends neither on how many were drawn before it nor on how many numbers another topic took.

The trap: the table's means hold for a population with the table's ages and statures. A config that narrows stature or
incidence moves the means of the sizes and curves tied to them.
"""

from __future__ import annotations

import math

import numpy as np

from spinemed.anatomy import Level, Region, Spine
from spinemed.errors import ConfigError
from spinemed.phantom.spine.config import SpineConfig, Variant
from spinemed.phantom.spine.curves import Curves, draw_curves
from spinemed.phantom.spine.records import (
    ArchShape,
    BodyShape,
    DiscShape,
    Pelvis,
    Person,
    RibPair,
    SacrumShape,
    Sex,
    SpinePhantom,
    Vertebra,
)
from spinemed.phantom.spine.scoliosis import bend, draw_scoliosis
from spinemed.phantom.spine.sizes import FAMILIES, SexName, Sizes, draw_sizes, height_difference_mm
from spinemed.phantom.tables.morphometry import alignment, size, trabecular_hu

__all__ = ["RIB_RULE_MM", "draw_spine"]

RIB_RULE_MM = 40.0
"""VerSe: the last thoracic vertebra bears at least one rib longer than this, L1 none."""

_COUNTS: dict[Variant | None, tuple[int, int]] = {
    None: (12, 5),
    "T13": (13, 5),
    "eleven_thoracic": (11, 5),
    "L6": (12, 6),
    "four_lumbar": (12, 4),
}
_TOPICS = ("person", "sizes", "curves", "variants", "density", "pelvis", "scoliosis")


def draw_spine(seed: int, index: int, config: SpineConfig | None = None) -> SpinePhantom:
    """Draw spine `index` of `seed`, healthy.

    Args:
        seed: Seed of the set, 0 or more.
        index: Number within the set, 0 or more.
        config: What to draw.

    Raises:
        ConfigError: the seed or index is negative.
    """
    config = config or SpineConfig()
    if seed < 0 or index < 0:
        raise ConfigError("seed and index count from 0", field="seed" if seed < 0 else "index", cure="use 0 or more")
    rng = {
        topic: np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, 3, k)))
        for k, topic in enumerate(_TOPICS)
    }
    traits = FAMILIES[config.family]
    variant = _draw_variant(rng["variants"], config)
    thoracic, lumbar = _COUNTS[variant]
    column = Spine(thoracic, lumbar)
    levels = column.presacral
    sex, age, incidence = _draw_person(rng["person"], config)
    name: SexName = "female" if sex is Sex.FEMALE else "male"
    sizes = draw_sizes(rng["sizes"], levels, name, traits)
    stature = _stature(rng["person"], name, sizes.height, config)
    sacrum = _draw_sacrum(rng["pelvis"], name, sizes.body)
    curves = draw_curves(rng["curves"], levels, sizes, incidence, age, sacrum["sacrum_endplate_depth"], traits)
    hu = trabecular_hu(name, age)
    density = max(25.0, hu.mean + hu.sd * float(np.clip(rng["density"].standard_normal(), -2.2, 2.6)))
    vertebrae = _vertebrae(levels, sizes, curves, density, rng["density"])
    vertebrae = _with_ribs(vertebrae, rng["variants"], name, config)
    vertebrae = _with_transition(vertebrae, rng["variants"], config)
    healthy = SpinePhantom(
        seed=seed,
        index=index,
        family=config.family,
        person=Person(sex=sex, age_years=age, stature_mm=stature, pelvic_incidence_deg=incidence),
        thoracic=thoracic,  # type: ignore[arg-type]
        lumbar=lumbar,  # type: ignore[arg-type]
        vertebrae=vertebrae,
        discs=tuple(
            DiscShape(
                disc=disc,
                middle_height_mm=_mm(sizes.values["disc_height"][i]),
                wedge_standing_deg=_deg(curves.standing_deg[i]),
                wedge_supine_deg=_deg(curves.supine_deg[i]),
            )
            for i, disc in enumerate(column.discs, start=1)
        ),
        sacrum=SacrumShape(
            endplate_width_mm=_mm(sacrum["sacrum_endplate_width"]),
            endplate_depth_mm=_mm(sacrum["sacrum_endplate_depth"]),
            width_mm=_mm(sacrum["sacrum_width"]),
            length_mm=_mm(sacrum["sacrum_length"]),
            curvature_deg=_deg(sacrum["sacrum_curvature"]),
            trabecular_hu=_deg(density * 0.9),
        ),
        pelvis=Pelvis(
            hip_distance_mm=_mm(sacrum["hip_distance"]),
            hip_width_mm=_mm(sacrum["hip_width"]),
            iliac_width_mm=_mm(sacrum["iliac_width"]),
            iliac_height_mm=_mm(sacrum["iliac_height"]),
            tilt_standing_deg=_deg(curves.tilt_standing_deg),
            tilt_supine_deg=_deg(curves.tilt_supine_deg),
        ),
        head_gap_mm=_mm(float(np.clip(rng["pelvis"].normal(5.0, 0.5), 4.0, 6.0))),
        fracture_compensation=config.fracture_compensation,
    )
    wanted = draw_scoliosis(rng["scoliosis"], levels, config, traits)
    return bend(healthy, wanted) if wanted else healthy


def _mm(value: float) -> float:
    return round(float(value), 4)


def _deg(value: float) -> float:
    return round(float(value), 6)


def _draw_variant(rng: np.random.Generator, config: SpineConfig) -> Variant | None:
    at = rng.random()
    for variant, share in sorted(config.variant_shares.items()):
        if at < share:
            return variant
        at -= share
    return None


def _draw_person(rng: np.random.Generator, config: SpineConfig) -> tuple[Sex, float, float]:
    drawn = Sex.FEMALE if rng.random() < config.female_share else Sex.MALE
    age = float(rng.uniform(*config.age_years))
    cell = alignment("pelvic_incidence")
    incidence = float(np.clip(rng.normal(cell.mean, cell.sd), *config.pelvic_incidence_deg))
    return config.sex or drawn, round(age, 1), round(incidence, 4)


def _stature(rng: np.random.Generator, sex: SexName, height_z: float, config: SpineConfig) -> float:
    cell = size("stature", None, sex)
    z = 0.75 * height_z + math.sqrt(1 - 0.75**2) * float(np.clip(rng.standard_normal(), -2.6, 2.6))
    return round(float(np.clip(cell.mean + cell.sd * z, *config.stature_mm)), 1)


def _draw_sacrum(rng: np.random.Generator, sex: SexName, body_z: float) -> dict[str, float]:
    """Sizes of sacrum and pelvis, tied to body size."""
    names = (
        "sacrum_endplate_width",
        "sacrum_endplate_depth",
        "sacrum_width",
        "sacrum_length",
        "sacrum_curvature",
        "hip_distance",
        "hip_width",
        "iliac_width",
        "iliac_height",
    )
    free = ("sacrum_curvature", "iliac_height")
    drawn: dict[str, float] = {}
    for name in names:
        cell = size(name, Level.S1, sex)
        tie = 0.0 if name in free else 0.6
        z = tie * body_z + math.sqrt(1 - tie * tie) * float(np.clip(rng.standard_normal(), -2.4, 2.4))
        drawn[name] = cell.mean + cell.sd * z
    return drawn


def _vertebrae(
    levels: tuple[Level, ...], sizes: Sizes, curves: Curves, density: float, rng: np.random.Generator
) -> tuple[Vertebra, ...]:
    v = sizes.values
    mean = (v["anterior_height"] + v["posterior_height"]) / 2
    half = height_difference_mm(curves.body_wedge_deg, v["upper_depth"], v["lower_depth"]) / 2
    cortical = float(np.clip(rng.normal(820.0, 80.0), 600.0, 1050.0))
    scatter = rng.standard_normal((2, len(levels)))
    result: list[Vertebra] = []
    for i, level in enumerate(levels):
        body = None
        if level is not Level.C1:
            body = BodyShape(
                upper_width_mm=_mm(v["upper_width"][i]),
                upper_depth_mm=_mm(v["upper_depth"][i]),
                lower_width_mm=_mm(v["lower_width"][i]),
                lower_depth_mm=_mm(v["lower_depth"][i]),
                anterior_height_mm=_mm(mean[i] + half[i]),
                posterior_height_mm=_mm(mean[i] - half[i]),
                upper_concavity_mm=_mm(v["upper_concavity"][i]),
                lower_concavity_mm=_mm(v["lower_concavity"][i]),
                waist=_mm(v["waist"][i]),
            )
        arch = ArchShape(
            canal_width_mm=_mm(v["canal_width"][i]),
            canal_depth_mm=_mm(v["canal_depth"][i]),
            pedicle_width_mm=_mm(v["pedicle_width"][i]),
            pedicle_height_mm=_mm(v["pedicle_height"][i]),
            lamina_thickness_mm=_mm(v["lamina_thickness"][i]),
            lamina_height_mm=_mm(v["lamina_height"][i]),
            spinous_length_mm=_mm(v["spinous_length"][i]),
            spinous_height_mm=_mm(v["spinous_height"][i]),
            spinous_droop_deg=_mm(v["spinous_droop"][i]),
            transverse_span_mm=_mm(v["transverse_span"][i]),
            transverse_thickness_mm=_mm(v["transverse_thickness"][i]),
            transverse_sweep_deg=_mm(v["transverse_sweep"][i]),
            facet_size_mm=_mm(v["facet_size"][i]),
        )
        result.append(
            Vertebra(
                level=level,
                body=body,
                arch=arch,
                dens_height_mm=_mm(v["dens_height"][i]) if level is Level.C2 else 0.0,
                trabecular_hu=_mm(max(15.0, density * v["trabecular_ratio"][i] + 7.0 * scatter[0, i])),
                cortical_hu=_mm(cortical + 25.0 * scatter[1, i]),
            )
        )
    return tuple(result)


def _with_ribs(
    vertebrae: tuple[Vertebra, ...], rng: np.random.Generator, sex: SexName, config: SpineConfig
) -> tuple[Vertebra, ...]:
    """Ribs by VerSe's rule: the last thoracic vertebra has one longer than 40 mm, L1 none or remnants below that."""
    person = rng.standard_normal()
    singles = rng.standard_normal((len(vertebrae), 2))
    short, stub = rng.random(2)
    stubs = rng.uniform(8.0, RIB_RULE_MM - 3.0, 2)
    one_sided = rng.random() < 0.4
    last = max(x.level for x in vertebrae if x.level.region is Region.THORACIC)
    result: list[Vertebra] = []
    for i, vertebra in enumerate(vertebrae):
        level = vertebra.level
        sides: list[float] | None = None
        if level.region is Region.THORACIC:
            cell = size("rib_length", Level.T12 if level is last else level, sex)
            if last is Level.T13 and level is Level.T12:  # between a full eleventh and a short thirteenth rib
                cell = size("rib_length", Level.T11, sex)._replace(mean=150.0)
            elif level is Level.T13:
                cell = cell._replace(mean=75.0, sd=18.0)
            sides = [max(RIB_RULE_MM + 5.0, cell.mean + cell.sd * (0.8 * person + 0.25 * s)) for s in singles[i]]
            if level is last and short < 0.05:
                sides[int(short < 0.025)] = stubs[0]
        elif level is Level.L1 and stub < config.rib_stub_share:
            sides = [stubs[0], 0.0 if one_sided else stubs[1]]
        if sides is not None:
            ribs = RibPair(right_length_mm=_mm(sides[0]), left_length_mm=_mm(sides[1]))
            vertebra = vertebra.model_copy(update={"ribs": ribs})
        result.append(vertebra)
    return tuple(result)


def _with_transition(
    vertebrae: tuple[Vertebra, ...], rng: np.random.Generator, config: SpineConfig
) -> tuple[Vertebra, ...]:
    """A transitional last lumbar vertebra: broad transverse process, joint, fusion, or both (Castellvi 1984).

    Types 1 to 3 are on one side or both (a and b in Castellvi's table); type 4 has a joint on one side and is fused on
    the other, and its side is that of the fusion.
    """
    wanted, kind = rng.random() < config.transition_share, int(rng.choice(4, p=(0.45, 0.35, 0.14, 0.06))) + 1
    side = ("left", "right", "both")[int(rng.choice(3, p=(0.25, 0.25, 0.5)))]
    if kind == 4 and side == "both":
        side = "left" if rng.random() < 0.5 else "right"
    if not wanted:
        return vertebrae
    last = vertebrae[-1].model_copy(update={"transition": f"castellvi_{kind}", "transition_side": side})
    return (*vertebrae[:-1], last)
