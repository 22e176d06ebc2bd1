"""Grade tables of SPIDER and of RSNA 2024 with their pictures, as questions with typed discs.

Convention: SPIDER is `radiological_gradings.csv` (one row a disc: Patient, IVD label, Modic, UP endplate, LOW endplate,
Spondylolisthesis, Disc herniation, Disc narrowing, Disc bulging, Pfirrman grade, spelt so) and volumes
`PATIENT_t1.mha`, `PATIENT_t2.mha`. RSNA is `train.csv` (study_id, then condition_level columns) with
`train_label_coordinates.csv` beside it, which names the series and instance that shows each, and DICOM files
`STUDY/SERIES/INSTANCE.dcm`. A question names disc and, where it has one, side; the picture is the middle sagittal
slice, or the named instance.

Traps: Pfirrmann is asked on T2 alone and Modic on T1 with T2, never on less. SPIDER counts discs from the sacrum, so
with a transitional vertebra the name is a guess (tag `caveat:counted_from_below`). A slice in the middle does not show
every slip or herniation that was graded on the whole series (tag `caveat:one_slice`).
"""

from __future__ import annotations

import io
from pathlib import Path

from bench.importers.gather import Gathered, below, question, read_table
from bench.importers.metaimage import grey, middle_slice
from spinemed.anatomy import Disc, parse_disc
from spinemed.errors import ReadError
from spinemed.marks import png_bytes

__all__ = ["gather_rsna", "gather_spider"]

_FROM_BELOW = ("L5/S1", "L4/5", "L3/4", "L2/3", "L1/2", "T12/L1", "T11/12", "T10/11", "T9/10")
SPIDER = (
    "Patient", "IVD label", "Modic", "UP endplate", "LOW endplate", "Spondylolisthesis", "Disc herniation",
    "Disc narrowing", "Disc bulging", "Pfirrman grade",
)  # fmt: skip
YES_NO = {
    "UP endplate": "Does the endplate above the disc {disc} have a defect?",
    "LOW endplate": "Does the endplate below the disc {disc} have a defect?",
    "Spondylolisthesis": "Is there spondylolisthesis at {disc}?",
    "Disc herniation": "Is the disc {disc} herniated?",
    "Disc narrowing": "Is the disc {disc} narrowed?",
    "Disc bulging": "Does the disc {disc} bulge?",
}
CONDITIONS = {
    "spinal_canal_stenosis": ("Spinal Canal Stenosis", "How severe is the stenosis of the spinal canal at {disc}?", ""),
    "left_neural_foraminal_narrowing": (
        "Left Neural Foraminal Narrowing", "How severe is the narrowing of the left neural foramen at {disc}?", "left",
    ),
    "right_neural_foraminal_narrowing": (
        "Right Neural Foraminal Narrowing", "How severe is the narrowing of the right neural foramen at {disc}?",
        "right",
    ),
    "left_subarticular_stenosis": (
        "Left Subarticular Stenosis", "How severe is the subarticular stenosis on the left at {disc}?", "left",
    ),
    "right_subarticular_stenosis": (
        "Right Subarticular Stenosis", "How severe is the subarticular stenosis on the right at {disc}?", "right",
    ),
}  # fmt: skip
LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")
SEVERITY = ("normal/mild", "moderate", "severe")
COORDINATES = "train_label_coordinates.csv"


def gather_spider(files: list[Path], images: Path, found: Gathered) -> None:
    """Add the grades of SPIDER.

    Raises:
        ReadError: A column is missing, a value is none of the scheme, or a volume cannot be read.
    """
    slices: dict[tuple[str, str], str | None] = {}

    def picture(patient: str, weighting: str, file: Path, line: int) -> str | None:
        key = (patient, weighting)
        if key not in slices:
            path = below(images, f"{patient}_{weighting}.mha", file=file, line=line)
            slices[key] = found.keep_picture(png_bytes(middle_slice(path)), path) if path.is_file() else None
        return slices[key]

    for file in files:
        for line, row in read_table(file, SPIDER):
            disc = _from_below(row["IVD label"], file, line)
            patient = row["Patient"]
            t1, t2 = (picture(patient, weighting, file, line) for weighting in ("t1", "t2"))
            for column, text in {"Pfirrman grade": "", "Modic": "", **YES_NO}.items():
                if row[column] == "":
                    found.left_out[f"no value for {column}"] += 1
                elif t2 is None or (column == "Modic" and t1 is None):
                    found.left_out[f"no {'T2' if t2 is None else 'T1'} volume for {column}"] += 1
                else:
                    _spider(row[column], column, text, disc, patient, t1, t2, file, line, found)


def _spider(
    value: str,
    column: str,
    text: str,
    disc: Disc,
    patient: str,
    t1: str | None,
    t2: str,
    file: Path,
    line: int,
    found: Gathered,
) -> None:
    categories: tuple[str, ...]
    pictures: tuple[str, ...] = (t2,)
    tags = ["caveat:counted_from_below", "caveat:one_slice"]
    if column == "Pfirrman grade":
        categories, scale = ("1", "2", "3", "4", "5"), "pfirrmann"
        asked = f"This is a sagittal T2 picture. Which Pfirrmann grade, 1 to 5, has the disc {disc}?"
        tags.append(f"scale:{scale}")
    elif column == "Modic":
        assert t1 is not None
        categories, pictures = ("0", "1", "2", "3"), (t1, t2)
        asked = (
            f"The first picture is sagittal T1, the second T2. Which type of Modic change, 1 to 3, or 0 for none, is "
            f"there at {disc}?"
        )
        tags.append("scale:modic")
    else:
        categories = ("yes", "no")
        asked = f"This is a sagittal T2 picture. {text.format(disc=disc)} Answer yes or no."
    answer = value if column in ("Pfirrman grade", "Modic") else {"1": "yes", "0": "no"}.get(value, value)
    if answer not in categories:
        raise ReadError(
            f"has {value!r}, which is no value of {column}", file=file, line=line, field=column, cure="mend this row"
        )
    found.add(
        f"{patient}:{disc}:{column.lower().replace(' ', '_')}", file=file, line=line, axis="pathology", task="category",
        messages=question(asked, len(pictures)), images=pictures, answer=answer, answer_kind="category",
        categories=categories, levels=(disc.upper, disc.lower), cluster=f"{found.kind}:{patient}", tags=tuple(tags),
        image_need="needed",
    )  # fmt: skip


def _from_below(text: str, file: Path, line: int) -> Disc:
    if not text.isdigit() or not 1 <= int(text) <= len(_FROM_BELOW):
        raise ReadError(
            f"has the disc number {text!r}, and 1 (L5/S1) to {len(_FROM_BELOW)} are known", file=file, line=line,
            field="IVD label", cure="mend this row",
        )  # fmt: skip
    return Disc.from_text(_FROM_BELOW[int(text) - 1])


def gather_rsna(files: list[Path], images: Path, found: Gathered) -> None:
    """Add the grades of RSNA 2024.

    Raises:
        ReadError: A column or a named instance is missing, or a value is none of the three grades.
    """
    columns = [f"{condition}_{level}" for condition in CONDITIONS for level in LEVELS]
    for file in files:
        shown = _coordinates(file.with_name(COORDINATES), found)
        for line, row in read_table(file, ["study_id", *columns]):
            for column in columns:
                condition, level = column[:-6], column[-5:]
                value = row[column].lower()
                if not value:
                    found.left_out["no grade"] += 1
                    continue
                if value not in SEVERITY:
                    raise ReadError(
                        f"has the grade {value!r}", file=file, line=line, field=column, cure="mend this row"
                    )
                name, text, side = CONDITIONS[condition]
                place = shown.get((row["study_id"], name, level.replace("_", "/").upper()))
                if place is None:
                    found.left_out[f"no instance in {COORDINATES}"] += 1
                    continue
                disc = parse_disc(level.replace("_", "/").upper())
                assert isinstance(disc, Disc)
                path = below(images, row["study_id"], place[0], f"{place[1]}.dcm", file=file, line=line)
                asked = f"{text.format(disc=disc)} Answer with one of: {', '.join(SEVERITY)}."
                found.add(
                    f"{row['study_id']}:{column}", file=file, line=line, axis="pathology", task="category",
                    messages=question(asked, 1), images=(found.keep_picture(_dicom_png(path), path),), answer=value,
                    answer_kind="category", categories=SEVERITY, levels=(disc.upper, disc.lower),
                    cluster=f"{found.kind}:{row['study_id']}", image_need="needed",
                    tags=("caveat:one_slice", *([f"side:{side}"] if side else [])),
                )  # fmt: skip


def _coordinates(file: Path, found: Gathered) -> dict[tuple[str, str, str], tuple[str, str]]:
    columns = ("study_id", "series_id", "instance_number", "condition", "level")
    found.files.append(file)
    return {
        (row["study_id"], row["condition"], row["level"]): (row["series_id"], row["instance_number"])
        for _, row in read_table(file, columns)
    }


def _dicom_png(path: Path) -> bytes:
    import pydicom

    from spinemed.volume.decode import stored_pixels
    from spinemed.volume.dicom import damage

    try:
        pixels = stored_pixels(pydicom.dcmread(io.BytesIO(path.read_bytes())))
    except damage() as error:
        raise ReadError(f"cannot be read as a DICOM picture ({error})", file=path, cure="give --images") from error
    return png_bytes(grey(pixels))
