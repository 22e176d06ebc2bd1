"""DICOM files with planted identifiers: recall is what no longer stands anywhere in the bytes that come out.

Convention: places and values are YAML files of the caller (see `planted.py`); the rules never read them. A planted
value counts as found when none of its words of three and more signs is in the written file.

Trap: a name planted in one attribute only is known to the rules when that attribute is a name's; the same word in
another attribute is then found by value. Both happen in real files, and the set has both.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_pipeline.deidentify.headers import clean_header, quiet_pydicom
from data_pipeline.deidentify.identity import CaseIdentity
from data_pipeline.deidentify.keys import DeidKey
from data_pipeline.deidentify.planted import Recall, fill_value
from data_pipeline.deidentify.search import terms

__all__ = ["planted_headers", "score_headers"]

_SLOT = re.compile(r"\{([a-z]+)\}")
_CATEGORY = {
    "stranger": "name", "familyupper": "name", "accession": "record", "address": "geography", "hospital": "geography",
    "place": "geography", "da": "date", "uid": "other",
}  # fmt: skip

Planted = tuple[Any, list[tuple[str, str, str]]]
"""A data set, and (category, value, place) of each planted value."""


def planted_headers(places: Path, values: Path, *, number: int, seed: int) -> Iterator[Planted]:
    """Data sets of one small CT image each, with one value at every place."""
    entries = yaml.safe_load(places.read_text(encoding="utf-8"))
    lists = yaml.safe_load(values.read_text(encoding="utf-8"))
    rng = np.random.default_rng(seed)
    for _ in range(number):
        dataset = _plain_image(rng)
        known = {
            "name": str(rng.choice(lists["names_en"])),
            "record": fill_value(str(rng.choice(lists["record"])), rng),
        }
        planted = []
        for entry in entries:
            values_of: list[tuple[str, str]] = []

            def fill(
                slot: re.Match[str], values_of: list[tuple[str, str]] = values_of, known: dict[str, str] = known
            ) -> str:
                kind = slot[1]
                value = _value(kind, known, lists, rng)
                values_of.append((_CATEGORY.get(kind, kind), value))
                return value

            text = _SLOT.sub(fill, entry["value"])
            with quiet_pydicom():
                _place(dataset, entry, text)
            place = f"{entry.get('where', '')} {entry.get('path', '')}".strip()
            planted += [(category, value, place) for category, value in values_of]
            if not values_of:
                planted.append((entry.get("category", "date"), text, place))
        yield dataset, planted


def _value(kind: str, known: dict[str, str], lists: dict[str, Any], rng: np.random.Generator) -> str:
    if kind in known:
        return known[kind]
    if kind == "familyupper":
        return known["name"].split()[-1].upper()[:16]
    if kind == "da":
        return f"{rng.integers(1935, 2020)}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"
    pool = lists["strangers_en" if kind == "stranger" else kind]
    return fill_value(str(rng.choice(pool)), rng)


def _plain_image(rng: np.random.Generator) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("planted", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CTImageStorage, "1.2.3", "CT"
    dataset.Rows = dataset.Columns = 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.PixelData = rng.integers(0, 9, (8, 8), dtype=np.int16).tobytes()
    return dataset


def _place(dataset: Any, entry: dict[str, Any], text: str) -> None:
    from pydicom.dataset import Dataset

    where = entry.get("where", "")
    if where == "preamble":
        dataset.preamble = text.encode("ascii", "replace")[:128].ljust(128, b"\0")
    elif where == "private":
        block = dataset.private_block(0x0029, "SITE NOTES", create=True)
        block.add_new(0x10 + len(block.dataset.group_dataset(0x0029)), "LO", text[:64])
    elif where == "private sequence":
        block = dataset.private_block(0x0031, "SITE LIST", create=True)
        item = Dataset()
        item.PatientComments = text
        block.add_new(0x20, "SQ", [item])
    elif where == "overlay":
        dataset.add_new((0x6000, 0x4000), "LT", text)
        dataset.add_new((0x6000, 0x3000), "OW", text.encode("utf-8").ljust(64, b"\0"))
    else:
        target = dataset.file_meta if where == "meta" else dataset
        path = entry["path"].split(".")
        if where == "deep":
            path = ["RequestAttributesSequence", "ScheduledProtocolCodeSequence", "ProtocolContextSequence", *path]
        for name in path[:-1]:
            if name not in target:
                setattr(target, name, [Dataset()])
            target = getattr(target, name)[0]
        old = target.get(path[-1])
        joined = f"{old}; {text}" if isinstance(old, str) and old and path[-1].endswith("Comments") else text
        setattr(target, path[-1], joined)


def score_headers(cases: Iterator[Planted], key: DeidKey) -> Recall:
    """Clean all data sets, write them, and look for the values in the bytes."""
    recall = Recall()
    allowed = {str(word).lower() for word in terms()["descriptions"]}
    for number, (dataset, planted) in enumerate(cases):
        clean_header(dataset, CaseIdentity(), key, f"patient {number}", id_="planted")
        stream = io.BytesIO()
        with quiet_pydicom():
            dataset.save_as(stream, enforce_file_format=True)
        content = stream.getvalue()
        words = {word.lower() for word in re.findall(r"[\w@.\-]+", content.decode("utf-8", "replace"))}
        whole = content.decode("utf-8", "replace").lower()
        for category, value, place in planted:
            parts = [part for part in re.findall(r"[\w@.\-]+", value.lower()) if len(part) >= 3]
            parts = [part for part in parts if part not in allowed]  # "Spine" of a clinic's name identifies nothing
            gone = value.lower() not in whole and not any(part in words for part in parts)
            recall.planted["known", category] += 1
            recall.found["known", category] += gone
            if not gone:
                recall.missed.append(f"{category}: {value!r} at {place}")
    return recall
