"""The front page's first picture: one phantom from its CT to named levels, twin, loss map and grade, beside the truth.

    python benchmarks/pictures_case.py        # writes benchmarks/pictures/case.png; a minute on one core

Convention: the script runs `spinemed phantom make` and `spinemed vertebra straighten, synthesise, rhlv, grade` in a
folder that it removes, and draws what they wrote; the truth is the phantom's own record. The phantom is the first of
its set (one seed) whose record holds a fracture of Genant's grade 3: chosen by the record, not by how well it is read.

The traps: on a phantom the mask is exact; how a patient's CT is read stands elsewhere. And two references are shown:
the twin (here the mean of its neighbours, nothing trained), and the heights that the grade is read against.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

from spinemed.anatomy import Level, parse_level
from spinemed.measure import GENANT_BORDERS
from spinemed.plotstyle import INK, PLOT_STYLE
from spinemed.vertebra.case import GradedCase, grade_case
from spinemed.vertebra.files import Scan
from spinemed.vertebra.maps import SCALE, colour_of, map_png
from spinemed.volume import WINDOWS, read_mask, read_nifti, reorient_volume, to_uint8

OUT = Path(__file__).resolve().parent / "pictures" / "case.png"
SEED, SPINES = 7, 4
PHANTOM = (
    "pathology.fracture_share=1", "pathology.fracture_multiple_share=0", "pathology.surgery_share=0",
    "undecidable_share=0", "ct.keep_cut=true", "ct.sacrum=true",
)  # fmt: skip
GRADE_COLOURS = {None: "#8a9197", 0: "#2f7fc1", 1: "#d9a400", 2: "#ea7317", 3: "#c2203f"}
GRADE_NAMES = {0: "none", 1: "mild", 2: "moderate", 3: "severe"}
TWIN, SOFT, PAPER = "#14a37f", "#5a666e", "#fbfaf7"
THIRDS = ("anterior", "middle", "posterior")


@dataclass(frozen=True)
class Chain:
    """What the commands wrote.

    Attributes:
        case: The grades with the midsagittal layer, as `spinemed vertebra grade` makes them.
        level: The fractured vertebra.
        own, image, twin: (X, Y, Z) its body, the CT and the twin's body on the upright crop, axes right, front, up.
        spacing_mm: Voxel edge of the crop.
        loss: What `spinemed vertebra rhlv --json` printed.
        map_png: Its map as in the page of `spinemed vertebra grade`, more finely drawn.
        truth: Loss of each third in percent and grade, by level, of the phantom's record.
        made_by: Who made the twin.
    """

    case: GradedCase
    level: Level
    own: np.ndarray
    image: np.ndarray
    twin: np.ndarray
    spacing_mm: float
    loss: dict[str, Any]
    map_png: bytes
    truth: dict[Level, dict[str, Any]]
    made_by: str


def spinemed(*arguments: object) -> str:
    """Run a command; what it printed."""
    command = [sys.executable, "-P", "-m", "spinemed", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_chain(work: Path) -> Chain:
    """Make the phantom and take it through the commands."""
    settings = [part for each in PHANTOM for part in ("--set", each)]
    made = work / "phantom"
    spinemed(
        "phantom", "make", "--out", made, "--n", SPINES, "--seed", SEED, "--what", "ct", "--spacing", 1, "--field",
        "lumbar", *settings,
    )  # fmt: skip
    image, truth, level = chosen(made / "outputs")
    stem = image.name.removesuffix("_ct.nii.gz")
    derived = made / "outputs" / "ct" / "derivatives" / stem
    mask, bodies = derived / f"{stem}_seg-vert_msk.nii.gz", derived / f"{stem}_seg-subreg_msk.nii.gz"
    scan = ("--mask", mask, "--image", image)
    spinemed("vertebra", "straighten", *scan, "--out", work / "straight")
    spinemed("vertebra", "synthesise", *scan, "--model", "neighbours", "--out", work / "twin")
    spinemed("vertebra", "grade", *scan, "--subregions", bodies, "--out", work / "grades")

    straight = json.loads((work / "straight" / f"{stem}_straight.json").read_text(encoding="utf-8"))
    twins = json.loads((work / "twin" / f"{stem}_synthesis.json").read_text(encoding="utf-8"))
    crop = next(each for each in straight["crops"] if each["level"] == str(level))["files"]
    body = next(each for each in twins["bodies"] if each["level"] == str(level))["files"]
    own_file, twin_file = work / "straight" / crop["vb"], work / "twin" / body["body"]
    loss = json.loads(spinemed("vertebra", "rhlv", "--json", "--mask", own_file, "--synthetic", twin_file))

    own, twin = (reorient_volume(read_mask(path), "RAS") for path in (own_file, twin_file))
    case = grade_case(Scan("phantom", mask, image, bodies), {})
    written = json.loads((work / "grades" / "grades.json").read_text(encoding="utf-8"))
    drawn = json.loads(case.report.model_dump_json())
    if written["vertebrae"] != drawn["vertebrae"]:
        raise SystemExit("the grades drawn are not those that the command wrote")
    return Chain(
        case=case, level=level, own=own.data > 0, twin=twin.data > 0,
        image=reorient_volume(read_nifti(work / "straight" / crop["ct"]), "RAS").data,
        spacing_mm=float(straight["spacing_mm"]), loss=loss, truth=truth,
        map_png=map_png(case.maps[level], pixels_per_mm=10), made_by=twins["made_by"],
    )  # fmt: skip


def chosen(outputs: Path) -> tuple[Path, dict[Level, dict[str, Any]], Level]:
    """The first CT with a fracture of grade 3: its file, the truth by level, and the fractured level."""
    for line in (outputs / "descriptions.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        seen = [parse_level(name) for name in record["description"]["field"]["levels"] if not name.startswith("S")]
        truth: dict[Level, dict[str, Any]] = {level: dict.fromkeys(THIRDS, 0.0) | {"grade": 0} for level in seen}
        worst: Level | None = None
        for finding in record["description"]["findings"]:
            if finding["kind"] != "fracture" or finding["status"] != "assessable":
                continue
            level = parse_level(finding["levels"][0])
            values = {each["name"].removesuffix("_loss"): each["value"] for each in finding["measurements"]}
            grade = int(finding["grade"]) if finding["grade"] is not None else None
            truth[level] = {third: values[third] for third in THIRDS} | {"grade": grade}
            worst = level if grade == 3 else worst
        if worst is not None:
            return outputs / record["image"], truth, worst
    raise SystemExit("no phantom of the set has a fracture of grade 3")


# --- drawing ---------------------------------------------------------------------------------------------------------


def draw(chain: Chain) -> Figure:
    """The picture."""
    figure = plt.figure(figsize=(18, 10.1), dpi=100, facecolor=PAPER)
    figure.text(0.017, 0.945, "One spine through SpineMed", size=27, weight="bold", va="center")
    figure.text(
        0.983, 0.945, "a computed phantom, no patient · marks and numbers as the commands give them",
        size=16.5, va="center", ha="right", color=SOFT,
    )  # fmt: skip
    draw_levels(figure.add_axes((0.017, 0.03, 0.292, 0.82)), chain)
    left, width, bottom, height = 0.335, 0.2, 0.525, 0.325
    draw_crop(figure.add_axes((left, bottom, width, height)), chain, twin=False)
    draw_crop(figure.add_axes((left + width + 0.02, bottom, width, height)), chain, twin=True)
    draw_map(figure, (left + 2 * width + 0.04, bottom, 0.208, height), chain)
    draw_grades(figure.add_axes((left + 0.036, 0.095, 0.36, 0.33)), chain)
    return figure


def heading(axes: Axes, number: int, text: str, *, left: float = 0.0) -> None:
    """A numbered heading above a panel."""
    axes.annotate(
        f"{number}", (left, 1), xycoords="axes fraction", xytext=(13, 21), textcoords="offset points", size=17,
        weight="bold", color="white", ha="center", va="center",
        bbox={"boxstyle": "circle,pad=0.22", "facecolor": INK, "edgecolor": "none"}, annotation_clip=False,
    )  # fmt: skip
    axes.annotate(
        text, (left, 1), xycoords="axes fraction", xytext=(34, 21), textcoords="offset points", size=19,
        weight="bold", va="center", annotation_clip=False,
    )  # fmt: skip


def draw_levels(axes: Axes, chain: Chain) -> None:
    """The midsagittal layer with the outlines of the fitted bodies and their names."""
    picture = chain.case.picture
    assert picture is not None
    grades = {each.level: each.grade for each in chain.case.report.vertebrae}
    high, wide = picture.pixels.shape[:2]
    box = axes.get_position()
    shape = box.width * 18 / (box.height * 10.1)
    if wide / high > shape:  # fill the panel: cut behind the spine, where nothing is drawn
        wide = round(high * shape)
    axes.imshow(picture.pixels[:, :wide], interpolation="bicubic")
    for outline in picture.outlines:
        colour = GRADE_COLOURS[grades.get(outline.level)]
        axes.add_patch(Polygon(outline.points, facecolor=(*matplotlib.colors.to_rgb(colour), 0.28), edgecolor="none"))
        axes.add_patch(Polygon(outline.points, fill=False, edgecolor=colour, linewidth=2.6))
        axes.text(
            min(x for x, _ in outline.points) - 5, outline.middle[1], str(outline.level), size=20, weight="bold",
            color="white", ha="right", va="center",
        )  # fmt: skip
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(high - 0.5, -0.5))
    length = 50 / picture.pixel_mm
    axes.plot([wide - 8 - length, wide - 8], [high - 8] * 2, color="white", linewidth=4, solid_capstyle="butt")
    axes.text(wide - 8 - length / 2, high - 12, "50 mm", color="white", size=15, ha="center", va="bottom")
    axes.set_axis_off()
    heading(axes, 1, "Levels named and outlined")


def sagittal(block: np.ndarray, column: int) -> np.ndarray:
    """A sagittal plane of an upright crop: the front on the left, the head above."""
    return block[column].T[::-1, ::-1]


def draw_crop(axes: Axes, chain: Chain, *, twin: bool) -> None:
    """The upright crop of the fractured body, alone or with the twin's outline."""
    column = round(float(np.flatnonzero(chain.own.any(axis=(1, 2))).mean()))
    grey = to_uint8(sagittal(chain.image, column), WINDOWS["bone"])
    axes.imshow(grey, cmap="gray", vmin=0, vmax=255, interpolation="bicubic", aspect="auto")
    own = sagittal(chain.own, column).astype(float)
    grade = next(each.grade for each in chain.case.report.vertebrae if each.level is chain.level)
    if twin:
        other = sagittal(chain.twin, column).astype(float)
        axes.contourf(smooth(other), levels=[0.5, 2], colors=[TWIN], alpha=0.38)
        axes.contour(smooth(other), levels=[0.5], colors=[TWIN], linewidths=3)
    axes.contour(smooth(own), levels=[0.5], colors=[GRADE_COLOURS[grade]], linewidths=3)
    rows = np.flatnonzero((own > 0).any(axis=1))
    columns = np.flatnonzero((own > 0).any(axis=0))
    middle, half = rows.mean(), 27 / chain.spacing_mm
    box = axes.get_position()
    across = half * box.width * 18 / (box.height * 10.1)
    axes.set(xlim=(columns.mean() - across, columns.mean() + across), ylim=(middle + half, middle - half))
    axes.set_axis_off()
    heading(axes, 3 if twin else 2, "Beside its twin" if twin else f"{chain.level} straightened")
    lost = max(chain.loss["robust"][third]["percent"] for third in THIRDS)
    said = chain.made_by if twin else "the curve of the spine taken out"
    if twin:
        axes.text(0.5, 0.03, f"{lost:.0f} % lost against it", transform=axes.transAxes, size=15, color="white",
                  ha="center", va="bottom")  # fmt: skip
    axes.annotate(said, (0.5, 0), xycoords="axes fraction", xytext=(0, -7), textcoords="offset points", size=14,
                  ha="center", va="top", color=SOFT)  # fmt: skip


def smooth(values: np.ndarray) -> np.ndarray:
    """A mask's edge without its steps, so that a contour reads as a line."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, 1.1))


def draw_map(figure: Figure, place: tuple[float, float, float, float], chain: Chain) -> None:
    """The height-loss map over the endplate with its scale and the three losses."""
    left, bottom, width, height = place
    axes = figure.add_axes(place, facecolor="white")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    heading(axes, 4, "Height lost, by place")
    inner = figure.add_axes((left + 0.004, bottom + 0.085, width - 0.008, height - 0.09))
    inner.imshow(np.asarray(Image.open(io.BytesIO(chain.map_png))), interpolation="lanczos")
    inner.set_axis_off()
    bar = figure.add_axes((left + 0.02, bottom + 0.052, width - 0.04, 0.02))
    ends = (SCALE[0][0], SCALE[-1][0])
    bar.imshow(colour_of(np.linspace(*ends, 400))[None], extent=(*ends, 0, 1), aspect="auto")
    bar.set(yticks=[], xticks=[-20, 0, 20, 40, 60])
    bar.set_xticklabels(["−20", "0", "20", "40", "60 %"])
    bar.tick_params(labelsize=14, pad=2)
    bar.grid(visible=False)
    bar.spines["left"].set_visible(False)
    graded = next(each for each in chain.case.report.vertebrae if each.level is chain.level)
    thirds = zip(("front", "middle", "back"), THIRDS, strict=True)
    said = " · ".join(f"{name} {getattr(graded, third).percent:.0f}" for name, third in thirds)
    axes.annotate(f"as graded: {said} %", (0.5, 0), xycoords="axes fraction", xytext=(0, -7),
                  textcoords="offset points", size=14, ha="center", va="top", color=SOFT)  # fmt: skip


def draw_grades(axes: Axes, chain: Chain) -> None:
    """The largest loss of each level with its interval and grade, and the phantom's truth beside."""
    vertebrae = [each for each in chain.case.report.vertebrae if each.level in chain.truth or each.anterior is not None]
    low, high = -10.0, 70.0
    for border in GENANT_BORDERS:
        axes.axvline(border, color="#c9cdc8", linewidth=1.4, zorder=0)
    axes.axvline(0, color="#9aa2a7", linewidth=1.4, linestyle=(0, (3, 3)), zorder=0)
    for row, each in enumerate(vertebrae):
        truth = chain.truth.get(each.level)
        thirds = {third: getattr(each, third) for third in THIRDS if getattr(each, third) is not None}
        if not thirds:
            axes.text(low + 1, row, "not measured", size=15, va="center", color=SOFT)
            continue
        worst = max(thirds, key=lambda third: thirds[third].percent)
        loss, colour = thirds[worst], GRADE_COLOURS[each.grade]
        axes.plot([loss.low, loss.high], [row, row], color=colour, linewidth=6, solid_capstyle="round", alpha=0.45)
        axes.plot([loss.percent], [row], "o", color=colour, markersize=12)
        if truth is not None:
            axes.plot([truth[worst]], [row], "D", markerfacecolor="none", markeredgecolor=INK, markersize=9,
                      markeredgewidth=2)  # fmt: skip
        grade = "no grade" if each.grade is None else f"{each.grade} {GRADE_NAMES[each.grade]}"
        told = f"{loss.percent:.0f} % ({loss.low:.0f} to {loss.high:.0f})".replace("-", "−")
        exact = "–" if truth is None or truth["grade"] is None else str(truth["grade"])
        strong = "bold" if each.grade else "normal"
        for offset, text in ((0.03, told), (0.37, grade), (0.64, exact)):
            axes.annotate(
                text, (1 + offset, row), xycoords=("axes fraction", "data"), size=17, va="center", weight=strong,
                color=colour if each.grade and offset == 0.37 else INK, annotation_clip=False,
            )  # fmt: skip
    axes.set(xlim=(low, high), ylim=(len(vertebrae) - 0.45, -0.55), yticks=range(len(vertebrae)))
    axes.set_yticklabels([str(each.level) for each in vertebrae], size=18, weight="bold")
    axes.set_xticks([0, *GENANT_BORDERS, 60])
    axes.set_xticklabels([f"{tick:g}" for tick in (0, *GENANT_BORDERS)] + ["60 %"], size=15)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    heading(axes, 5, "Height loss with its 95 % interval", left=-0.1)
    for offset, text in ((0.37, "grade"), (0.64, "truth")):
        axes.annotate(text, (1 + offset, 1), xycoords="axes fraction", xytext=(0, 21), textcoords="offset points",
                      size=16, color=SOFT, va="center", annotation_clip=False)  # fmt: skip
    axes.annotate(
        "● largest of the three thirds, against what the rest of this spine leads to expect    ◇ the phantom's truth",
        (-0.1, 0), xycoords="axes fraction", xytext=(0, -36), textcoords="offset points", size=14, va="top",
        color=SOFT, annotation_clip=False,
    )  # fmt: skip


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        chain = run_chain(Path(folder))
    OUT.parent.mkdir(exist_ok=True)
    with matplotlib.rc_context(PLOT_STYLE):
        figure = draw(chain)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", metadata={"Software": None}, facecolor=PAPER)
    # Steps of two grey values are not seen, and make the file a fifth smaller.
    pixels = Image.fromarray(np.asarray(Image.open(drawn).convert("RGB")) & 0xFE)
    pixels.save(OUT, format="PNG", optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1e3:.0f} kB, {pixels.width} x {pixels.height}")


if __name__ == "__main__":
    main()
