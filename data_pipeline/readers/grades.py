"""Per-level grade tables in the layouts in which data sets publish them, as typed findings by case.

Convention: a layout is a function from rows to findings; its docstring says which columns it knows and from where. A
grade keeps the words of its scheme. As a source of its own, each case becomes a document with one sentence for each
row, worded by rule; a `nifti` or `verse` source may take the findings instead.

Trap: SPIDER counts discs from the sacrum up (1 is L5/S1); with a transitional vertebra that is a guess, so such names
hold for the usual column only, and the sentence says so. Box labels of VinDr-SpineXR name no level at all.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from data_pipeline.readers.documents import add_document
from data_pipeline.readers.files import FileOptions, overflows, pack, read_files, utf8_text
from data_pipeline.readers.reading import Blocks, Reading, read_options, short_id
from data_pipeline.sandbox import Answer
from spinemed.anatomy import Disc, parse_disc
from spinemed.errors import LevelError, ReadError
from spinemed.records import Finding, Source

__all__ = ["LAYOUTS", "GradeOptions", "parse_grades", "read_grades", "table_findings"]

Graded = tuple[str, tuple[Finding, ...]]
"""Case, findings of one row."""
Row = dict[str, str]

_FROM_BELOW = ("L5/S1", "L4/5", "L3/4", "L2/3", "L1/2", "T12/L1", "T11/12", "T10/11", "T9/10")
_RSNA_GRADES = {"normal/mild": "normal_mild", "moderate": "moderate", "severe": "severe"}


class GradeOptions(FileOptions):
    """Options of a `grades` source."""

    pattern: str = "*"
    """Which files of the folder are read."""
    layout: Literal["spider", "rsna2024", "vindr_spinexr", "buu_lspine", "spark"]
    """Whose table it is; decides columns and schemes."""


def read_grades(source: Source, root: Path) -> Reading:
    """Read all tables of a source.

    Raises:
        ReadError: No file fits the pattern.
    """
    options = read_options(source, GradeOptions)
    return read_files(source, root, "data_pipeline.readers.grades:parse_grades", options, layout=options.layout)


def parse_grades(path: str, name: str, source: dict[str, Any], layout: str) -> Answer:
    """Parse one table to a document for each case; runs in the sandbox.

    Raises:
        ReadError: A column is missing, or it is no table.
    """
    entry, file = Source.model_validate(source), Path(path)
    data = file.read_bytes()
    reading = Reading(entry.id)
    cases: dict[str, list[tuple[int, tuple[Finding, ...]]]] = {}
    columns: dict[str, bool] = {}
    for number, graded in enumerate(table_findings(data, layout, name, columns), start=1):
        if isinstance(graded, str):
            reading.drop("row", f"{name}#row {number}", graded, failed=True)
            continue
        case, findings = graded
        reading.keep("row")
        cases.setdefault(case, []).append((number, findings))
    for column, used in columns.items():
        if used:
            reading.keep("column")
        else:
            reading.drop("column", f"{name}#{column}", "is not read", f"the layout {layout} has no finding for it")
    for case, rows in cases.items():
        blocks = Blocks(short_id("doc", entry.id, name, case, data.hex()[:64], len(data)))
        blocks.add("heading", f"Grades of case {case} ({layout})", "", "case")
        for number, findings in rows:
            blocks.add("paragraph", " ".join(_sentence(finding) for finding in findings), case, f"row {number}")
        before = len(reading.documents)
        add_document(reading, entry, blocks, name, data, f"case {case}")
        reading.documents[before] = reading.documents[before].model_copy(update={"group_id": f"{entry.id}:{case}"})
    return pack(reading)


class _Watched(dict[str, str]):
    """A row that notes which of its columns are looked at."""

    def __init__(self, values: dict[str, str], columns: dict[str, bool]) -> None:
        super().__init__(values)
        self.columns = columns

    def __getitem__(self, name: str) -> str:
        value = super().__getitem__(name)
        self.columns[name] = True
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        self.columns[name] = True
        return super().get(name, default)


def table_findings(
    data: bytes, layout: str, name: str, columns: dict[str, bool] | None = None
) -> Iterator[Graded | str]:
    """Findings of each row, or why a row has none.

    Args:
        data: The file's bytes, UTF-8.
        layout: One of :data:`LAYOUTS`.
        name: File name, for messages.
        columns: Filled with the columns of the table, and whether any row's was looked at.

    Raises:
        ReadError: It is no table of this layout.
    """
    text = utf8_text(data, name)
    if layout == "spark":
        yield from _spark(text, name)
        return
    needed, read = LAYOUTS[layout]
    rows = csv.DictReader(io.StringIO(text))
    try:
        header = {column.strip().lower() for column in rows.fieldnames or ()}
        missing = sorted(needed - header)
        if missing:
            raise ReadError(
                f"lacks the columns {', '.join(missing)} of the layout {layout}", file=name, cure="check `layout`"
            )
        columns = {} if columns is None else columns
        columns.update(dict.fromkeys(sorted(header), False))
        for row in rows:
            if overflows(row):
                yield "has more cells than columns"
                continue
            lower = {str(key).strip().lower(): (value or "").strip() for key, value in row.items() if key is not None}
            try:
                yield read(_Watched(lower, columns))
            except (LevelError, ValueError, IndexError, KeyError):
                yield "a value that the layout does not know"
    except csv.Error as error:
        raise ReadError("is no well-formed CSV", file=name, line=rows.line_num, cure="mend the quotes") from error


def _disc(text: str) -> Disc:
    found = parse_disc(text)
    if not isinstance(found, Disc):
        raise LevelError("names no disc")
    return found


def _from_one(values: Sequence[str], number: str) -> str:
    """The entry of a number that counts from one; 0 is none, though Python would take it for the last."""
    if not 1 <= int(number) <= len(values):
        raise ValueError("number")
    return values[int(number) - 1]


def _spider(row: Row) -> Graded:
    """SPIDER `radiological_gradings.csv`: Patient, IVD label, Modic, UP endplate, LOW endplate, Spondylolisthesis, Disc
    herniation, Disc narrowing, Disc bulging, Pfirrman grade (spelt so)."""
    disc = _disc(_from_one(_FROM_BELOW, row["ivd label"]))
    roman = ("I", "II", "III", "IV", "V")
    modic = int(row["modic"])
    if not 0 <= modic <= 3:
        raise ValueError("Modic")
    findings = [
        Finding(
            kind="disc_degeneration", disc=disc, value="graded", grade=_from_one(roman, row["pfirrman grade"]),
            scheme="Pfirrmann 2001",
        ),
        Finding(kind="modic", disc=disc, value="modic" if modic else "none", grade=str(modic) if modic else None,
                scheme="Modic 1988" if modic else None),
    ]  # fmt: skip
    for column, kind in (
        ("spondylolisthesis", "slip"),
        ("disc herniation", "herniation"),
        ("disc narrowing", "disc_height"),
    ):
        if row[column] not in ("0", "1"):
            raise ValueError(column)
        present = {"slip": "slip", "herniation": "herniation", "disc_height": "narrowed"}[kind]
        value = present if row[column] == "1" else "none"
        findings.append(Finding.model_validate({"kind": kind, "disc": str(disc), "value": value}))
    return row["patient"], tuple(findings)


def _rsna(row: Row) -> Graded:
    """RSNA 2024 `train.csv`: study_id and condition_level columns such as `left_neural_foraminal_narrowing_l4_l5`."""
    kinds = {
        "spinal_canal_stenosis": ("canal_stenosis", None),
        "left_neural_foraminal_narrowing": ("foraminal_stenosis", "left"),
        "right_neural_foraminal_narrowing": ("foraminal_stenosis", "right"),
    }
    findings = []
    for column in row:
        for prefix, (kind, side) in kinds.items():
            if column.startswith(prefix + "_") and (value := row[column]):
                upper, lower = column.removeprefix(prefix + "_").split("_")
                grade = _RSNA_GRADES[value.lower()]
                findings.append(
                    Finding.model_validate(
                        {
                            "kind": kind, "disc": str(_disc(f"{upper.upper()}/{lower.upper()}")), "side": side,
                            "value": "graded", "grade": grade, "scheme": "RSNA 2024",
                        }
                    )
                )  # fmt: skip
    if not findings:
        raise ValueError("no grade")
    return row["study_id"], tuple(findings)


def _vindr(row: Row) -> Graded:
    """VinDr-SpineXR `train.csv`: image_id, study_id, lesion_type, xmin, ymin, xmax, ymax; boxes name no level."""
    kinds = {
        "osteophytes": ("osteophyte", "osteophyte"), "spondylolysthesis": ("slip", "slip"),
        "disc space narrowing": ("disc_height", "narrowed"), "vertebral collapse": ("fracture", "collapse"),
        "foraminal stenosis": ("foraminal_stenosis", "stenosis"), "other lesions": ("lesion", "other"),
        "surgical implant": ("mimic", "implant"), "no finding": ("lesion", "none"),
    }  # fmt: skip
    kind, value = kinds[row["lesion_type"].lower()]
    return row["study_id"], (Finding.model_validate({"kind": kind, "value": value}),)


def _buu(row: Row) -> Graded:
    """BUU-LSPINE as tables are exchanged: image_id, level (L1/2 ...), listhesis grade 0 to 4 or a word. The published
    corner points are coordinates without a grade and are not read here."""
    grade = int(row["grade"])
    if not 0 <= grade <= 4:
        raise ValueError("grade")
    disc = _disc(row["level"])
    roman = ("", "I", "II", "III", "IV")[grade]
    return row["image_id"], (
        Finding(
            kind="slip", disc=disc, value="slip" if grade else "none", grade=roman or None,
            scheme="Meyerding 1932" if grade else None,
        ),
    )  # fmt: skip


LAYOUTS: dict[str, tuple[frozenset[str], Callable[[Row], Graded]]] = {
    "spider": (
        frozenset(
            {
                "patient",
                "ivd label",
                "modic",
                "spondylolisthesis",
                "disc herniation",
                "disc narrowing",
                "pfirrman grade",
            }
        ),
        _spider,
    ),
    "rsna2024": (frozenset({"study_id"}), _rsna),
    "vindr_spinexr": (frozenset({"study_id", "lesion_type"}), _vindr),
    "buu_lspine": (frozenset({"image_id", "level", "grade"}), _buu),
}
"""Needed columns (lower case) and reader of each CSV layout. `spark` is JSON."""


def _spark(text: str, name: str) -> Iterator[Graded | str]:
    """Spark (Tianchi lumbar MRI): a JSON list of studies with `studyUid` and `data[].annotation[].data.point[]`.

    Each point has `tag.identification` (`L4-L5` or `L4`) and `tag.disc` (v1 ... v5). The meanings (normal, bulge,
    protrusion, extrusion, Schmorl node) are remembered, not read in a published source: check them before use.
    """
    meaning = {"v1": ("none", "herniation"), "v2": ("bulge", "herniation"), "v3": ("protrusion", "herniation"),
               "v4": ("extrusion", "herniation"), "v5": ("schmorl", "schmorl")}  # fmt: skip
    try:
        studies = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReadError("is no JSON", file=name, cure="check `layout`") from error
    if not isinstance(studies, list):
        raise ReadError("is no list of studies", file=name, cure="check `layout`")
    for study in studies:
        try:
            case, findings = str(study["studyUid"]), []
            for part in study["data"]:
                for annotation in part["annotation"]:
                    for point in annotation["data"]["point"]:
                        tag = point["tag"]
                        for code in str(tag.get("disc", "")).split(","):
                            if code:
                                value, kind = meaning[code.strip()]
                                disc = str(_disc(str(tag["identification"])))
                                findings.append(Finding.model_validate({"kind": kind, "disc": disc, "value": value}))
            if not findings:
                yield "no graded disc"
                continue
            yield case, tuple(findings)
        except (LevelError, KeyError, TypeError, ValueError):
            yield "a value that the layout does not know"


_WORDS = {
    "disc_degeneration": "disc degeneration", "modic": "Modic change", "slip": "spondylolisthesis",
    "herniation": "disc herniation", "disc_height": "disc height", "canal_stenosis": "spinal canal stenosis",
    "foraminal_stenosis": "neural foraminal narrowing", "osteophyte": "osteophytes", "fracture": "vertebral fracture",
    "lesion": "lesion", "mimic": "mimic", "schmorl": "Schmorl node",
}  # fmt: skip


def _sentence(finding: Finding) -> str:
    place = f"{finding.disc}: " if finding.disc else "level not stated: "
    side = f"{finding.side} " if finding.side else ""
    grade = f", grade {finding.grade} ({finding.scheme})" if finding.grade else ""
    return f"{place}{side}{_WORDS[finding.kind]} {finding.value}{grade}."
