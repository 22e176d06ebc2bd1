"""Draw a phantom: every random number of a spine, its field of view and its look, before anything is rendered.

Convention: item `index` of seed `seed` has a generator of its own (`SeedSequence(seed, spawn_key=(index,))`), so it
never depends on how many were drawn before it. The trap: where the field lies depends on the level in focus (which
must be inside), so the position of a level is not fully free of its name; the README states how much position tells.
"""

from __future__ import annotations

import numpy as np

from spinemed.anatomy import Level
from spinemed.errors import ConfigError
from spinemed.phantom.sagittal.looks import draw_look
from spinemed.phantom.sagittal.records import (
    FractureDraw,
    FractureKind,
    PhantomConfig,
    PhantomDraw,
    SacrumDraw,
    SurroundDraw,
    Variant,
    VertebraDraw,
    View,
)
from spinemed.phantom.sagittal.shape import body_outlines, build_column, place_sacrum, sacrum_outline
from spinemed.phantom.sagittal.sizes import SACRUM_DEPTHS_MM, SACRUM_LENGTHS_MM, SEGMENT_LORDOSIS_DEG, SIZES, size_of

__all__ = ["draw_phantom", "healthy_twin"]

_KINDS: tuple[FractureKind, ...] = ("wedge", "crush", "biconcave")
_MARGIN_MM = 8.0


def draw_phantom(seed: int, index: int, config: PhantomConfig | None = None) -> PhantomDraw:
    """Draw phantom `index` of `seed`.

    Args:
        seed: Seed of the set, 0 or more.
        index: Number within the set, 0 or more.
        config: What to draw; the default is a set to train level naming on.

    Raises:
        ConfigError: The seed or index is negative, or no field of the configured height can show the focus level.
    """
    config = config or PhantomConfig()
    if seed < 0 or index < 0:
        raise ConfigError("seed and index count from 0", field="seed" if seed < 0 else "index", cure="use 0 or more")
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    view: View = "lateral" if rng.random() < config.lateral_share else "sagittal"
    variant = _draw_variant(rng, config)
    levels = _levels(variant)
    lordosis, kyphosis, slope, lean = _draw_curve(rng, view)
    vertebrae = _draw_vertebrae(rng, config, levels, lordosis, kyphosis, slope + lean)
    sacrum = _draw_sacrum(rng, slope + lean)
    fracture_wanted = rng.random() < config.fracture_share
    cropped = rng.random() < config.sacrum_cropped_share
    field = _draw_field(rng, config, levels, vertebrae, sacrum, cropped)
    focus, spacing, origin, visible = field
    candidates = [x for x in config.fracture_levels if x in visible]
    fractures = _draw_fractures(rng, config, candidates) if fracture_wanted and candidates else ()
    return PhantomDraw(
        seed=seed,
        index=index,
        family=config.family,
        view=view,
        variant=variant,
        size_px=config.size_px,
        spacing_mm=spacing,
        origin_mm=origin,
        mirrored=bool(rng.random() < config.mirrored_share),
        focus=focus,
        levels=(*levels, Level.S1),
        lordosis_deg=round(lordosis, 3),
        kyphosis_deg=round(kyphosis, 3),
        sacral_slope_deg=round(slope, 3),
        lean_deg=round(lean, 3),
        sacrum_cropped=bool(cropped),
        vertebrae=vertebrae,
        sacrum=sacrum,
        fractures=fractures,
        surround=_draw_surround(rng, levels),
        look=draw_look(rng, config, view),
    )


def healthy_twin(draw: PhantomDraw) -> PhantomDraw:
    """The same phantom without its fractures: same spine, field, noise."""
    return draw.model_copy(update={"fractures": ()})


def _draw_variant(rng: np.random.Generator, config: PhantomConfig) -> Variant:
    at = rng.random()
    for variant, share in sorted(config.variant_shares.items()):
        if at < share:
            return variant
        at -= share
    return "normal"


def _levels(variant: Variant) -> tuple[Level, ...]:
    levels = list(SIZES)
    if variant == "T13":
        levels.insert(levels.index(Level.T12) + 1, Level.T13)
    elif variant == "no_T12":
        levels.remove(Level.T12)
    elif variant == "L6":
        levels.append(Level.L6)
    elif variant == "four_lumbar":
        levels.remove(Level.L5)
    return tuple(levels)


def _draw_curve(rng: np.random.Generator, view: View) -> tuple[float, float, float, float]:
    """Lordosis L1-S1, kyphosis T2-T11, sacral slope and lean, degrees.

    Lordosis: recumbent 36.8 +- 13.2 for slices, standing 49.8 +- 11.2 for radiographs (n=627, PMC6680033). Kyphosis
    about 38 +- 10 and the slope's dependence on lordosis are approximate.
    """
    mean, sd = (49.8, 11.2) if view == "lateral" else (36.8, 13.2)
    lordosis = float(np.clip(rng.normal(mean, sd), 12.0, 72.0))
    kyphosis = float(np.clip(rng.normal(36.0, 9.0), 12.0, 62.0))
    slope = float(np.clip(15.0 + 0.47 * lordosis + rng.normal(0.0, 4.0), 15.0, 58.0))
    return lordosis, kyphosis, slope, float(rng.uniform(-6.0, 6.0))


def _draw_vertebrae(
    rng: np.random.Generator,
    config: PhantomConfig,
    levels: tuple[Level, ...],
    lordosis: float,
    kyphosis: float,
    base_tilt: float,
) -> tuple[VertebraDraw, ...]:
    count = len(levels)
    sizes = np.array([size_of(x) for x in levels])
    size = np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)
    slender, disc_scale = rng.normal(1.0, 0.04, 2)
    if config.family == "b":  # another population: broader, lower bodies, thinner discs
        slender, disc_scale = slender * 1.07, disc_scale * 0.85
    lumbar = np.array([x >= Level.L1 for x in levels])
    thoracic = np.array([Level.T2 <= x <= Level.T11 for x in levels])
    segment = np.array([SEGMENT_LORDOSIS_DEG[x] for x in levels])
    segment = np.where(lumbar, segment * lordosis / segment[lumbar].sum(), segment)
    segment = np.where(thoracic, -segment * kyphosis / segment[thoracic].sum(), segment)
    segment = segment + rng.normal(0.0, 0.9, count)
    common = rng.normal(1.0, 0.025, count)
    front = sizes[:, 0] * size * common / slender * rng.normal(1.0, 0.015, count)
    back = sizes[:, 1] * size * common / slender * rng.normal(1.0, 0.015, count)
    middle = (front + back) / 2.0 * np.clip(rng.normal(0.93, 0.015, count), 0.87, 0.97)
    depth = sizes[:, 2] * size * slender * rng.normal(1.0, 0.02, count)
    worn = np.clip(rng.beta(1.2, 4.0) * np.array([1.5 if x else 1.0 for x in lumbar]) * config.degeneration, 0, 1)
    signal = np.clip(1.0 - worn * rng.uniform(0.2, 1.8, count), 0.0, 1.0)
    disc = sizes[:, 4] * size * disc_scale * rng.normal(1.0, 0.06, count) * (0.6 + 0.4 * signal)
    wedge = np.degrees(np.arctan((front - back) / depth))
    own = (wedge + np.append(wedge[1:], 0.0)) / 2.0
    # A disc keeps at least 1.5 mm at its narrow end: that bounds the angle between neighbours.
    room = np.degrees(np.arctan(np.maximum(disc - 1.5, 0.2) / (np.maximum(depth, np.append(depth[1:], 33.0)) / 2.0)))
    segment = own + np.clip(segment - own, -room, room)
    tilt = base_tilt - np.cumsum(segment[::-1])[::-1]
    spur = np.maximum(rng.normal(-1.0, 1.6, count), 0.0) * config.degeneration
    waist = np.maximum(rng.normal(1.5, 0.4, count), 0.4) * depth / 34.0
    length = sizes[:, 5] * size * rng.normal(1.0, 0.08, count)
    thick = sizes[:, 6] * size * rng.normal(1.0, 0.08, count)
    droop = sizes[:, 7] + rng.normal(0.0, 4.0, count)
    canal = sizes[:, 3] * rng.normal(1.0, 0.05, count)
    values = np.round(
        np.stack(
            [front, middle, back, depth, tilt, canal, waist, np.minimum(spur, 4.0), disc, signal, length, thick, droop],
            axis=1,
        ),
        3,
    ).tolist()
    names = list(VertebraDraw.model_fields)[1:]
    return tuple(VertebraDraw(level=x, **dict(zip(names, row))) for x, row in zip(levels, values))


def _draw_sacrum(rng: np.random.Generator, tilt: float) -> SacrumDraw:
    size = float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15))
    bend = float(rng.normal(1.0, 0.2))
    turns = np.array([0.0, 8.0, 2.0, -16.0, -24.0, -32.0])
    tilts = tilt + bend * np.cumsum([0.0, *turns[1:]])
    lengths = np.array(SACRUM_LENGTHS_MM) * size * rng.normal(1.0, 0.03, 6)
    depths = np.array(SACRUM_DEPTHS_MM) * size * rng.normal(1.0, 0.03, 7)
    return SacrumDraw(
        lengths_mm=tuple(np.round(lengths, 3).tolist()),
        depths_mm=tuple(np.round(depths, 3).tolist()),
        tilts_deg=tuple(np.round(tilts, 3).tolist()),
    )


def _draw_field(
    rng: np.random.Generator,
    config: PhantomConfig,
    levels: tuple[Level, ...],
    vertebrae: tuple[VertebraDraw, ...],
    sacrum: SacrumDraw,
    cropped: bool,
) -> tuple[Level, float, tuple[float, float], set[Level]]:
    """Focus level, spacing, origin and the levels wholly inside the field."""
    outlines = body_outlines(build_column(vertebrae, sacrum.tilts_deg[0]))
    low, high = outlines.min(axis=1), outlines.max(axis=1)
    front, back = place_sacrum(sacrum)
    below = sacrum_outline(front, back)
    at = {x: i for i, x in enumerate(levels)}
    wanted = [x for x in config.focus_levels if x in at]
    if cropped:
        wanted = [x for x in wanted if x < levels[-1]] or wanted
    if not wanted:
        raise ConfigError(
            "none of the levels exists in this numbering variant", field="focus_levels", cure="add another level"
        )
    focus = wanted[int(rng.integers(len(wanted)))]
    rows, columns = config.size_px
    tall = float(rng.uniform(*config.field_mm))
    focus_top, focus_bottom = float(low[at[focus], 1]), float(high[at[focus], 1])
    if cropped:
        # Neither the sacrum nor the neck may show: both would settle the numbering.
        highest, ceiling = float(below[:, 1].min()) - 5.0, float(high[at[Level.T1], 1])
        tall = min(tall, highest - ceiling)
        lowest = min(max(focus_bottom + _MARGIN_MM, ceiling + tall), highest)
    else:
        lowest = float(np.maximum(front[2, 1], back[2, 1])) + 2.0  # all of S1 and S2
        tall = max(tall, lowest - focus_top + _MARGIN_MM + 1.0)
        highest = min(focus_top - _MARGIN_MM + tall, lowest + 110.0)
    spacing = round(tall / rows, 5)
    bottom = float(rng.uniform(lowest, highest))
    top = bottom - spacing * (rows - 1)
    wide = spacing * (columns - 1)
    kept_x = [(low[at[focus], 0], high[at[focus], 0])]
    if not cropped:
        kept_x.append((float(below[:4, 0].min()), float(back[:3, 0].max())))
    least = max(x for _, x in kept_x) + _MARGIN_MM - wide
    most = min(x for x, _ in kept_x) - _MARGIN_MM
    middle = float((low[at[focus], 0] + high[at[focus], 0]) / 2.0)
    left = middle - wide * float(rng.uniform(0.42, 0.68))
    left = float(np.clip(left, least, most)) if least <= most else (least + most) / 2.0
    origin = (round(left, 3), round(top, 3))
    if focus_top < origin[1] or not (low[at[focus], 0] >= left and high[at[focus], 0] <= left + wide):
        raise ConfigError(
            f"a field of {tall:.0f} mm cannot show {focus.value}", field="field_mm", cure="use a larger field"
        )
    inside = (low[:, 0] >= left) & (high[:, 0] <= left + wide) & (low[:, 1] >= top) & (high[:, 1] <= bottom)
    return focus, spacing, origin, {x for x, seen in zip(levels, inside) if seen}


def _draw_fractures(
    rng: np.random.Generator, config: PhantomConfig, candidates: list[Level]
) -> tuple[FractureDraw, ...]:
    number = 1 if rng.random() < 0.75 else 2
    order = rng.permutation(len(candidates))
    chosen: list[Level] = []
    for place in order:
        level = candidates[int(place)]
        # Neighbours follow a collapse; two fractures within reach of each other would share them.
        if all(abs(candidates.index(level) - candidates.index(x)) > 4 for x in chosen):
            chosen.append(level)
        if len(chosen) == number:
            break
    fractures = []
    for level in sorted(chosen):
        kind = _KINDS[int(rng.choice(3, p=[0.55, 0.2, 0.25]))]
        share = rng.uniform(0.75, 1.0) if kind == "wedge" else rng.uniform(0.4, 0.7)
        loss = round(float(rng.uniform(*config.height_loss)), 4)
        fractures.append(FractureDraw(level=level, kind=kind, height_loss=loss, superior_share=round(float(share), 3)))
    return tuple(fractures)


def _draw_surround(rng: np.random.Generator, levels: tuple[Level, ...]) -> SurroundDraw:
    # None of these may betray a level: each varies by a level or more against the column.
    dome = rng.uniform(-300.0, -215.0)
    organs = [(rng.uniform(0.45, 0.65), dome + 62.0, 46.0, rng.uniform(45.0, 66.0), rng.uniform(0.1, 0.6))]  # liver
    for _ in range(int(rng.integers(12, 20))):
        place = rng.uniform(0.15, 0.92), rng.uniform(dome + 60.0, 130.0)
        organs.append((*place, rng.uniform(7.0, 22.0), rng.uniform(6.0, 18.0), rng.uniform(-1.0, 1.0)))
    return SurroundDraw(
        front_mm=round(float(rng.uniform(100.0, 170.0)), 2),
        back_mm=round(float(rng.uniform(8.0, 30.0)), 2),
        fat_mm=(round(float(rng.uniform(8.0, 35.0)), 2), round(float(rng.uniform(5.0, 22.0)), 2)),
        vessel_mm=round(float(rng.uniform(13.0, 22.0)), 2) if rng.random() < 0.75 else 0.0,
        vessel_gap_mm=round(float(rng.uniform(2.0, 7.0)), 2),
        vessel_end=round(levels.index(Level.L4) + 0.5 + float(np.clip(rng.normal(0.0, 0.6), -1.5, 1.0)), 3),
        conus=round(levels.index(Level.L1) + 0.5 + float(np.clip(rng.normal(0.0, 0.6), -1.5, 1.5)), 3),
        dome_mm=round(float(dome), 2),
        organs=tuple(tuple(np.round(x, 2).tolist()) for x in organs),
        rib_shift_mm=round(float(rng.uniform(3.0, 12.0)), 2),
        iliac=(round(float(rng.uniform(-62.0, -30.0)), 2), round(float(rng.uniform(-0.25, 0.25)), 3)),
    )
