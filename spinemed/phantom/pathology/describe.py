"""`describe`: what is true of a phantom and readable from one image of it, as structured findings.

Convention: a finding names its levels or its disc by the spine's own names, its side as the patient's, and its numbers
with units. Each has a status: "assessable", "not_assessable" (this modality, sequence, plane or slice cannot show it,
or an artefact covers it) or "outside" (not in the field of view); only the first carries a grade or a measurement.
Levels whose names the field of view cannot decide are marked (`numbered` is False): questions about their number have
the answer "not determinable".

A description holds what was applied and nothing else: a level that is not mentioned and in view is healthy in that
respect, down to what the modality can show. Mimics are listed as mimics; they are no fractures.

The trap: an entry with the status "not_assessable" still names kind and place, so that "not assessable" can be asked
for. Do not count such entries as positive findings: use `SpineDescription.visible`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from spinemed.anatomy import Disc, Level, Region, Spine, number_view
from spinemed.errors import SpineMedError
from spinemed.phantom.pathology.effective import caudal_endplate_depth_mm, effective_bodies
from spinemed.phantom.pathology.fields import THIRDS, band_mean, healthy_height, node_uv
from spinemed.phantom.pathology.findings import (
    FieldOfView,
    Measurement,
    PostureName,
    SpineDescription,
    SpineFinding,
    Status,
)
from spinemed.phantom.pathology.grades import (
    Assessability,
    FindingKind,
    Modality,
    Plane,
    RsnaGrade,
    Sequence,
    Zone,
    assessable,
    rsna_canal_grade,
    rsna_foraminal_grade,
)
from spinemed.phantom.pathology.records import (
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
    Side,
    Slip,
)

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import SpinePhantom

__all__ = ["View", "describe", "spine_of", "view_of", "whole_field"]

_GENANT_LEVELS = (Level.T4, Level.L4)
"""Genant's semiquantitative grading is defined from T4 to L4."""
_ENDS = (Level.C1, Level.C2, Level.S1)
"""What the column is counted from besides the ribs."""
_LEAST_DISC_LOSS_PERCENT = 10.0
"""A disc that has lost less is of normal height: the spread of healthy neighbours is wider."""
_ROMAN = {1: "I", 2: "II", 3: "III", 4: "IV", 5: "V"}
_METAL_HIDES: dict[Modality, frozenset[FindingKind]] = {
    "MR": frozenset(
        {"disc_degeneration", "modic", "canal_stenosis", "foraminal_stenosis", "herniation", "lesion", "schmorl"}
    ),
    "CT": frozenset({"herniation", "lesion"}),
    "XR": frozenset(),
}


def spine_of(spine: SpinePhantom) -> Spine:
    """The phantom's column with its counting convention."""
    return Spine(spine.thoracic, spine.lumbar, spine.convention)


def whole_field(spine: SpinePhantom, modality: Modality) -> FieldOfView:
    """The whole column and the sacrum; an MR of the spine shows neither ribs to their tips nor hips."""
    levels = (*(vertebra.level for vertebra in spine.vertebrae), Level.S1)
    wide = modality != "MR"
    return FieldOfView(levels=levels, ribs_visible=wide, hips_visible=wide)


def describe(
    spine: SpinePhantom,
    *,
    modality: Modality,
    sequences: Iterable[Sequence] = (),
    plane: Plane | None = None,
    slice_thickness_mm: float | None = None,
    field: FieldOfView | None = None,
    posture: PostureName | None = None,
) -> SpineDescription:
    """The structured findings of one image.

    Args:
        spine: The phantom.
        modality: "CT", "MR" or "XR".
        sequences: Of an MR, and only of one.
        plane: Of slices or projection; "lateral" for XR and "volume" else where not given.
        slice_thickness_mm: Of the slices, if known.
        field: What is in the image; the whole spine where not given.
        posture: "standing" for XR and "supine" else where not given.

    Raises:
        SpineMedError: an MR without sequences, or a pathology that the spine cannot have.
        LevelError: a field with a gap or with levels that the spine does not have.
    """
    shown = tuple(sorted(set(sequences)))
    plane = plane or ("lateral" if modality == "XR" else "volume")
    posture = posture or ("standing" if modality == "XR" else "supine")
    field = field or whole_field(spine, modality)
    # An end of the column that cannot be told as one is no anchor, and has no name either.
    nameless = () if field.ends_visible else tuple(level for level in field.levels if level in _ENDS)
    named = [level for level in field.levels if level not in nameless]
    numbering = number_view(named, spine_of(spine), ribs_visible=field.ribs_visible)
    undecided = tuple(sorted({*numbering.undecided, *nameless}))
    view = View(spine, modality, shown, plane, slice_thickness_mm, field, frozenset(undecided))
    findings = [finding for index, item in enumerate(spine.pathologies) for finding in view.of_pathology(item, index)]
    findings += view.of_shape()
    findings += view.of_alignment(posture)
    return SpineDescription(
        seed=spine.seed,
        index=spine.index,
        family=spine.family,
        modality=modality,
        sequences=shown,
        plane=plane,
        slice_thickness_mm=slice_thickness_mm,
        posture=posture,
        field=field,
        thoracic=spine.thoracic,
        lumbar=spine.lumbar,
        numbering_determinable=not undecided,
        counted_from=numbering.counted,
        undecided_levels=undecided,
        findings=tuple(findings),
    )


def view_of(description: SpineDescription, spine: SpinePhantom) -> View:
    """The view that a description was made from, to ask what else it could show.

    Raises:
        SpineMedError: the description is of another spine.
    """
    if (description.seed, description.index, description.family) != (spine.seed, spine.index, spine.family):
        raise SpineMedError("the description is of another spine", field="description", cure="describe this spine")
    return View(
        spine,
        description.modality,
        description.sequences,
        description.plane,
        description.slice_thickness_mm,
        description.field,
        frozenset(description.undecided_levels),
    )


def _mm(name: str, value: float) -> Measurement:
    return Measurement(name=name, value=round(value, 2), unit="mm")


def _percent(name: str, value: float) -> Measurement:
    return Measurement(name=name, value=round(value, 2), unit="percent")


def _deg(name: str, value: float) -> Measurement:
    return Measurement(name=name, value=round(value, 2), unit="deg")


class View:
    """One image of one phantom: turns records into findings and decides what of them can be seen."""

    def __init__(
        self,
        spine: SpinePhantom,
        modality: Modality,
        sequences: tuple[Sequence, ...],
        plane: Plane,
        thickness_mm: float | None,
        field: FieldOfView,
        undecided: frozenset[Level],
    ) -> None:
        self.spine, self.modality, self.sequences, self.plane = spine, modality, sequences, plane
        self.thickness_mm, self.field, self.undecided = thickness_mm, field, undecided
        self.bodies = effective_bodies(spine)
        self.shapes = {shape.disc: shape for shape in spine.discs}
        self.metal: set[Level] = set()
        for item in spine.pathologies:
            if isinstance(item, Screws):
                self.metal.update(item.levels)
            elif isinstance(item, Cage) and item.material == "titanium":
                self.metal.update((item.disc.upper, item.disc.lower))

    def finding(
        self,
        kind: FindingKind,
        where: Disc | tuple[Level, ...],
        category: str,
        *,
        size_mm: float | None = None,
        source: int | None = None,
        subtype: str = "",
        side: Side | None = None,
        zone: Zone | None = None,
        grade: str | None = None,
        scheme: str = "",
        rsna: RsnaGrade | None = None,
        measurements: tuple[Measurement, ...] = (),
        hidden: str = "",
    ) -> SpineFinding:
        """A finding with its status; grade and measurements only where it can be seen."""
        disc = where if isinstance(where, Disc) else None
        levels = (where.upper, where.lower) if isinstance(where, Disc) else where
        status, reason = self._status(kind, levels, size_mm, subtype or category, hidden)
        seen = status == "assessable"
        return SpineFinding(
            kind=kind,
            levels=levels,
            disc=disc,
            side=side,
            category=category,
            subtype=subtype,
            zone=zone,
            grade=grade if seen else None,
            scheme=scheme if seen else "",
            rsna=rsna if seen else None,
            measurements=measurements if seen else (),
            status=status,
            reason=reason,
            numbered=not self.undecided & set(levels),
            source=source,
        )

    def _status(
        self, kind: FindingKind, levels: tuple[Level, ...], size_mm: float | None, subtype: str, hidden: str
    ) -> tuple[Status, str]:
        shown = set(self.field.levels)
        if missing := [level.value for level in levels if level not in shown]:
            return "outside", f"{', '.join(missing)} outside the image"
        if covered := [level.value for level in levels if level in self.field.artefact_levels]:
            return "not_assessable", f"artefact at {', '.join(covered)}"
        if hidden:
            return "not_assessable", hidden
        if kind in _METAL_HIDES[self.modality] and (near := [x.value for x in levels if x in self.metal]):
            return "not_assessable", f"metal artefact at {', '.join(near)}"
        verdict: Assessability = assessable(
            kind,
            modality=self.modality,
            sequences=self.sequences,
            plane=self.plane,
            slice_thickness_mm=self.thickness_mm,
            size_mm=size_mm,
            subtype=subtype,
        )
        return ("assessable", "") if verdict else ("not_assessable", verdict.reason)

    # --- pathologies ---

    def of_pathology(self, item: Pathology, index: int) -> Iterator[SpineFinding]:
        """The findings of one record: one, or two where two things are read (grade and height of a disc)."""
        if isinstance(item, Fracture):
            yield self._fracture(item, index)
        elif isinstance(item, Slip):
            yield self._slip(item, index)
        elif isinstance(item, DiscDegeneration):
            yield from self._degeneration(item, index)
        elif isinstance(item, Herniation):
            yield self.finding(
                "herniation",
                item.disc,
                item.type,
                source=index,
                side=item.side,
                zone=item.zone,
                scheme="disc nomenclature 2.0 (2014)",
                measurements=(
                    _mm("depth", item.depth_mm),
                    _mm("base", item.base_mm),
                    *((_mm("migration", item.migration_mm),) if item.migration_mm else ()),
                ),
            )
        elif isinstance(item, CanalStenosis):
            yield self.finding(
                "canal_stenosis",
                item.disc,
                "central",
                source=index,
                grade=item.schizas,
                scheme="Schizas 2010",
                rsna=rsna_canal_grade(item.schizas),
                measurements=(_percent("area_loss", item.area_loss_percent),),
            )
        elif isinstance(item, ForaminalStenosis):
            yield self.finding(
                "foraminal_stenosis",
                item.disc,
                "foraminal",
                source=index,
                side=item.side,
                grade=str(item.lee),
                scheme="Lee 2010",
                rsna=rsna_foraminal_grade(item.lee),
                measurements=(_percent("area_loss", item.area_loss_percent),),
            )
        elif isinstance(item, ModicChange):
            size = (_mm("height", item.height_mm),)
            yield self.finding(
                "modic", item.disc, "modic", source=index, grade=str(item.type), scheme="Modic 1988", measurements=size
            )
        else:
            yield from self._simple(item, index)

    def _simple(self, item: Pathology, index: int) -> Iterator[SpineFinding]:
        if isinstance(item, SchmorlNode):
            yield self.finding(
                "schmorl",
                (item.level,),
                item.endplate,
                source=index,
                size_mm=item.depth_mm,
                measurements=(_mm("depth", item.depth_mm), _mm("diameter", 2 * item.radius_mm)),
            )
        elif isinstance(item, Osteophyte):
            length = (_mm("length", item.length_mm),)
            yield self.finding(
                "osteophyte", (item.level,), item.endplate, source=index, subtype=item.where, measurements=length
            )
        elif isinstance(item, Lesion):
            across = (_mm("diameter", 2 * item.radius_mm),)
            yield self.finding("lesion", (item.level,), item.type, source=index, measurements=across)
        elif isinstance(item, Screws):
            sizes = (_mm("diameter", item.diameter_mm), _mm("length", item.length_mm))
            for level in item.levels:  # a construct may be cut by the edge of the image
                yield self.finding("screws", (level,), "pedicle_screws", source=index, measurements=sizes)
        elif isinstance(item, Cage):
            yield self.finding("cage", item.disc, "cage", source=index, subtype=item.material)
        elif isinstance(item, Mimic):
            levels: tuple[Level, ...] = (item.level,)
            if item.type == "block_vertebra":
                levels = next((d.upper, d.lower) for d in self.shapes if d.upper == item.level)
            yield self.finding("mimic", levels, item.type, source=index)

    def _fracture(self, item: Fracture, index: int) -> SpineFinding:
        from spinemed.measure.grades import genant_grade

        losses = (item.anterior_loss_percent, item.middle_loss_percent, item.posterior_loss_percent)
        healthy = healthy_height(self.bodies[item.level].shape, *node_uv())
        heights = {third: band_mean(healthy, third) for third, _, _ in THIRDS}
        lost = [loss / 100 * heights[third] for loss, third in zip(losses, ("anterior", "middle", "posterior"))]
        graded = _GENANT_LEVELS[0] <= item.level <= _GENANT_LEVELS[1]
        share = item.upper_share
        return self.finding(
            "fracture",
            (item.level,),
            item.shape,
            source=index,
            size_mm=max(lost),
            subtype="both_endplates"
            if 0.15 < share < 0.85
            else ("upper_endplate" if share >= 0.85 else "lower_endplate"),
            grade=str(genant_grade(*losses)) if graded else None,
            scheme="Genant 1993" if graded else "",
            measurements=(
                _percent("anterior_loss", losses[0]),
                _percent("middle_loss", losses[1]),
                _percent("posterior_loss", losses[2]),
                _percent("height_loss", max(losses)),
                _mm("height_lost", max(lost)),
                *((_mm("retropulsion", item.retropulsion_mm),) if item.retropulsion_mm else ()),
            ),
        )

    def _slip(self, item: Slip, index: int) -> SpineFinding:
        from spinemed.measure.grades import meyerding_grade

        disc = next(one for one in self.shapes if one.upper == item.level)
        length = item.percent / 100 * caudal_endplate_depth_mm(self.spine, disc)
        anterior = item.direction == "anterior"
        return self.finding(
            "slip",
            disc,
            "anterolisthesis" if anterior else "retrolisthesis",
            source=index,
            size_mm=length,
            subtype=item.type,
            grade=meyerding_grade(item.percent) if anterior else None,
            scheme="Meyerding 1932" if anterior else "",
            measurements=(_percent("slip", item.percent), _mm("slip_length", length)),
        )

    def _degeneration(self, item: DiscDegeneration, index: int) -> Iterator[SpineFinding]:
        grade = _ROMAN[item.pfirrmann]
        yield self.finding(
            "disc_degeneration", item.disc, "degeneration", source=index, grade=grade, scheme="Pfirrmann 2001"
        )
        if item.height_loss_percent >= _LEAST_DISC_LOSS_PERCENT:
            lost = item.height_loss_percent / 100 * self.shapes[item.disc].middle_height_mm
            yield self.finding(
                "disc_height",
                item.disc,
                "height_loss",
                source=index,
                size_mm=lost,
                measurements=(_percent("height_loss", item.height_loss_percent), _mm("height_lost", lost)),
            )

    # --- what belongs to the person ---

    def of_shape(self) -> list[SpineFinding]:
        """Transitional vertebrae."""
        found = []
        for vertebra in self.spine.vertebrae:
            if vertebra.transition != "none":
                side: Side | None = None if vertebra.transition_side == "both" else vertebra.transition_side  # type: ignore[assignment]
                found.append(
                    self.finding(
                        "transition",
                        (vertebra.level, Level.S1),
                        "lumbosacral_transitional_vertebra",
                        side=side,
                        grade=_castellvi(vertebra.transition, vertebra.transition_side),
                        scheme="Castellvi 1984",
                    )
                )
        return found

    def of_alignment(self, posture: PostureName) -> list[SpineFinding]:
        """Angles of the posed spine, by `spinemed.phantom.spine.truth`, which sums up everything between two levels."""
        from spinemed.phantom.spine.records import Posture
        from spinemed.phantom.spine.truth import alignment_truth

        truth = alignment_truth(self.spine, Posture(posture))
        last_rib = [v.level for v in self.spine.vertebrae if v.level.region is Region.THORACIC and v.level <= Level.T12]
        found = [
            self.finding(
                "scoliosis",
                self._stretch(curve.upper_end, curve.lower_end),
                "convex_right" if curve.measured_deg > 0 else "convex_left",
                measurements=(_deg("cobb", abs(curve.measured_deg)),),
            )
            for curve in truth.cobbs
        ]
        for name, value, upper, lower in (
            ("lordosis_l1_s1", truth.lordosis_l1_s1_deg, Level.L1, Level.S1),
            ("lordosis_l4_s1", truth.lordosis_l4_s1_deg, Level.L4, Level.S1),
            ("kyphosis_t4_t12", truth.kyphosis_t4_t12_deg, Level.T4, last_rib[-1]),
            ("lordosis_c2_c7", truth.cervical_lordosis_deg, Level.C2, Level.C7),
        ):
            levels = self._stretch(upper, lower)
            found.append(self.finding("alignment", levels, name, subtype=posture, measurements=(_deg(name, value),)))
        no_hips = "" if self.field.hips_visible else "the femoral heads are outside the image"
        for name, value in (
            ("pelvic_incidence", truth.pelvic_incidence_deg),
            ("pelvic_tilt", truth.pelvic_tilt_deg),
            ("sacral_slope", truth.sacral_slope_deg),
        ):
            hidden = no_hips if name != "sacral_slope" else ""
            measured = (_deg(name, value),)
            found.append(
                self.finding("pelvic", (Level.S1,), name, subtype=posture, measurements=measured, hidden=hidden)
            )
        lying = "" if posture == "standing" else "the sagittal vertical axis is defined standing"
        found.append(
            self.finding(
                "alignment",
                self._stretch(Level.C7, Level.S1),
                "sagittal_vertical_axis",
                subtype=posture,
                measurements=(_mm("sagittal_vertical_axis", truth.sva_mm),),
                hidden=lying,
            )
        )
        return found

    def _stretch(self, upper: Level, lower: Level) -> tuple[Level, ...]:
        order = [*(vertebra.level for vertebra in self.spine.vertebrae), Level.S1]
        return tuple(order[order.index(upper) : order.index(lower) + 1])


def _castellvi(transition: str, side: str) -> str:
    """I-III with a (one side) or b (both); IV has both by definition (II on one side, III on the other)."""
    number = _ROMAN[int(transition[-1])]
    return number if number == "IV" else number + ("b" if side == "both" else "a")
