"""DICOM headers made anonymous: PS3.15 Annex E, table E.1-1, on every level of nesting, and nothing that is not known.

Convention: the Basic Profile with the options Clean Descriptors, Retain Patient Characteristics (sex and age alone) and
Retain Longitudinal Information with Modified Dates. An attribute of the table is emptied, removed, replaced or has its
UID mapped as the table says. One that is not in the table stays only when it is a standard attribute that carries
numbers, codes or pixels; other text goes. Private groups, curves, overlays and the preamble go everywhere.

Trap: `PatientIdentityRemoved = YES` also claims clean pixels. It is written only by :func:`finish_header`, after the
pixels were cleared.
"""

from __future__ import annotations

import datetime
import functools
import logging
import re
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from data_pipeline.deidentify.dates import move_date
from data_pipeline.deidentify.identity import CaseIdentity, identity_from_header
from data_pipeline.deidentify.keys import DeidKey
from data_pipeline.deidentify.patterns import PATTERNS
from data_pipeline.deidentify.search import find_identity, terms
from data_pipeline.deidentify.status import DeidRecord
from spinemed.records import content_hash

__all__ = ["METHOD", "clean_header", "finish_header", "quiet_pydicom"]

TABLE = "dicomfields_2026c"
METHOD = f"PS3.15 E.1-1 ({TABLE.removeprefix('dicomfields_')}), basic profile, clean descriptors, modified dates"

_TEXT = frozenset({"LO", "LT", "SH", "ST", "UT", "UC", "PN", "AE", "UR", "UN"})
_TIMES = frozenset({"TM"})
_DATES = frozenset({"DA", "DT"})
_CODES = frozenset({"CS", "AS"})
# Standard text attributes that say what the image is and nobody's name. Still swept for the case's values.
_TEXT_KEPT = frozenset(
    {
        "Manufacturer", "ManufacturerModelName", "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
        "RescaleType", "SpecificCharacterSet", "ConvolutionKernel", "AngioFlag", "TransmitCoilName",
        "MagneticFieldStrength", "ImplementationVersionName", "LossyImageCompressionMethod", "SoftwareVersions",
        "DerivationCodeSequence", "StackID", "PresentationLUTShape", "PixelPaddingValue",
    }
)  # fmt: skip
_DESCRIPTIONS = frozenset(
    {"StudyDescription", "SeriesDescription", "ProtocolName", "CodeMeaning", "SequenceName", "PulseSequenceName",
     "ContrastBolusAgent", "ViewName", "RequestedProcedureDescription", "PerformedProcedureStepDescription"}
)  # fmt: skip
_DATES_KEPT = frozenset({"StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime"})
_UIDS_KEPT = frozenset(
    {"SOPClassUID", "MediaStorageSOPClassUID", "TransferSyntaxUID", "ImplementationClassUID", "ReferencedSOPClassUID",
     "ContextUID", "MappingResourceUID", "CodingSchemeUID", "PrivateCreatorUID", "FileMetaInformationVersion"}
)  # fmt: skip
_BINARY = frozenset({"OB", "OW", "OF", "OD", "OL", "OV"})
_BINARY_KEPT = frozenset(
    {"PixelData", "FloatPixelData", "DoubleFloatPixelData", "LUTData", "FileMetaInformationVersion",
     "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData"}
)  # fmt: skip
_DAMAGE = (AttributeError, EOFError, KeyError, NotImplementedError, OSError, TypeError, ValueError, struct.error)
_CODE = re.compile(r"^[A-Z0-9_ \-./]{0,16}$")
_AGE = re.compile(r"^(\d{3})([DWMY])$")


@functools.cache
def _table() -> dict[int, str]:
    """Action by tag: X remove, Z empty, D replace, U map the UID, S walk in. Compound actions take the strictest."""
    from dicomanonymizer.dicomfields_selector import (  # type: ignore[import-untyped]
        dicom_anonymization_database_selector,
    )

    lists = dicom_anonymization_database_selector(TABLE)
    order = (
        ("X_Z_U_STAR_TAGS", "S"), ("X_Z_D_TAGS", "X"), ("X_D_TAGS", "X"), ("X_Z_TAGS", "X"), ("Z_D_TAGS", "Z"),
        ("U_TAGS", "U"), ("D_TAGS", "Z"), ("Z_TAGS", "Z"), ("X_TAGS", "X"),
    )  # fmt: skip
    found: dict[int, str] = {}
    for name, action in order:
        for tag in lists[name]:
            if len(tag) == 2:  # four numbers are a pattern of repeating groups, which go as a whole
                found.setdefault(tag[0] << 16 | tag[1], action)
    return found


def clean_header(dataset: Any, identity: CaseIdentity, key: DeidKey, patient: str, *, id_: str) -> DeidRecord:
    """Clean a data set in place, file meta included.

    Args:
        dataset: As `pydicom.dcmread` gives it.
        identity: More values of the case; those of this header are added.
        key: The project's key.
        patient: What pseudonym and date shift are made from: the same for all files of one patient.
        id_: Id for the record.

    Returns:
        How many elements were removed, emptied, mapped, moved or cleaned; status `clean`.
    """
    with quiet_pydicom():
        return _clean(dataset, identity, key, patient, id_)


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Let pydicom neither warn nor log: its messages quote the values they complain about."""
    from pydicom import config

    reading, writing = config.settings.reading_validation_mode, config.settings.writing_validation_mode
    config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
    logger, was = logging.getLogger("pydicom"), logging.getLogger("pydicom").disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was
        config.settings.reading_validation_mode, config.settings.writing_validation_mode = reading, writing


def _clean(dataset: Any, identity: CaseIdentity, key: DeidKey, patient: str, id_: str) -> DeidRecord:
    from pydicom.datadict import dictionary_has_tag

    known = identity.joined(identity_from_header(dataset))
    counts: Counter[str] = Counter()
    age = str(dataset.get("PatientAge", "") or "")
    sex = str(dataset.get("PatientSex", "") or "").upper()
    walk = _Walk(known, key, patient, counts, dictionary_has_tag)
    walk.clean(dataset)
    meta = getattr(dataset, "file_meta", None)
    if meta is not None:
        walk.clean(meta)
    if getattr(dataset, "preamble", None):
        dataset.preamble = b"\0" * 128
    dataset.PatientID = key.pseudonym(patient)
    dataset.PatientName = key.pseudonym(patient)
    dataset.PatientBirthDate = ""
    dataset.PatientSex = sex if sex in ("F", "M", "O") else ""
    dataset.PatientAge = _age(age)
    dataset.StudyID = dataset.AccessionNumber = ""
    dataset.PatientIdentityRemoved = "NO"
    dataset.DeidentificationMethod = METHOD[:64]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    return DeidRecord(
        id=id_,
        kind="header",
        status="clean",
        method=METHOD,
        result_sha256=content_hash(_listing(dataset)),
        counts=dict(sorted(counts.items())),
    )


def finish_header(dataset: Any) -> None:
    """Say that identity and burned-in text were removed. Only after the pixels were cleared."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.BurnedInAnnotation = "NO"
    if str(dataset.get("RecognizableVisualFeatures", "")) == "YES":
        dataset.RecognizableVisualFeatures = "NO"


def _age(text: str) -> str:
    """Ages above 89 become 90."""
    match = _AGE.match(text.strip())
    if not match:
        return ""
    return "090Y" if match[2] == "Y" and int(match[1]) > 89 else text.strip()


def _listing(dataset: Any) -> list[str]:
    return [f"{element.tag} {element.VR} {element.repval}" for element in dataset.iterall()]


class _Walk:
    """One pass over a data set and everything nested in it."""

    def __init__(
        self,
        known: CaseIdentity,
        key: DeidKey,
        patient: str,
        counts: Counter[str],
        in_dictionary: Callable[[Any], bool],
    ) -> None:
        self.known, self.key, self.patient, self.counts = known, key, patient, counts
        self.in_dictionary = in_dictionary
        self.shift = key.shift(patient)

    def clean(self, dataset: Any) -> None:
        """Clean one level; sequences that stay are walked."""
        for tag in list(dataset.keys()):
            group = tag.group
            if group % 2 or 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF or not self.in_dictionary(tag):
                self._remove(dataset, tag, "private, curve, overlay or unknown")
                continue
            self._element(dataset, tag)

    def _remove(self, dataset: Any, tag: Any, why: str) -> None:
        del dataset[tag]
        self.counts[f"removed: {why}"] += 1

    def _element(self, dataset: Any, tag: Any) -> None:
        try:
            element = dataset[tag]
        except _DAMAGE:  # what cannot be parsed cannot be judged
            self._remove(dataset, tag, "unreadable")
            return
        name, vr, action = element.keyword, element.VR, _table().get(int(tag))
        if name in _DESCRIPTIONS:
            self._describe(dataset, tag, element)
        elif vr in _DATES and name in _DATES_KEPT:
            self._move(dataset, tag, element)
        elif action == "X" and vr != "SQ":
            self._remove(dataset, tag, "by the table")
        elif action in ("X", "Z") and vr == "SQ":
            self._remove(dataset, tag, "sequence by the table")
        elif action == "U":
            element.value = self._map(element.value)
            self.counts["UID mapped"] += 1
        elif action == "Z":
            element.value = "" if vr not in ("OB", "OW", "UN") else b""
            self.counts["emptied"] += 1
        elif vr == "SQ":
            for item in element.value or ():
                self.clean(item)
        elif vr in _DATES or vr in _TIMES:
            self._remove(dataset, tag, "date or time")
        elif vr == "UI":
            if name not in _UIDS_KEPT:
                element.value = self._map(element.value)
                self.counts["UID mapped"] += 1
        elif vr in _TEXT:
            if name not in _TEXT_KEPT:
                self._remove(dataset, tag, "text that the table does not know")
            else:
                self._sweep(dataset, tag, element)
        elif vr in _CODES or vr in ("IS", "DS"):
            self._sweep(dataset, tag, element)
        elif vr in _BINARY and name not in _BINARY_KEPT:
            self._remove(dataset, tag, "bytes of unknown content")

    def _map(self, value: Any) -> Any:
        if value is None or value == "":
            return value
        many = [value] if isinstance(value, str) else list(value)
        mapped = [self.key.uid(str(uid)) if not str(uid).startswith("1.2.840.10008.") else str(uid) for uid in many]
        return mapped[0] if len(mapped) == 1 else mapped

    def _describe(self, dataset: Any, tag: Any, element: Any) -> None:
        """A description keeps only the words of a closed vocabulary."""
        allowed = _vocabulary()
        words = re.split(r"([\s_,;:/()\[\]^*+\-]+)", str(element.value or ""))
        kept = [word for word in words if word.lower() in allowed or re.fullmatch(r"[TLCS]\d{1,2}", word)]
        text = " ".join(kept)
        own = bool(find_identity(text, self.known))
        if not text or own:
            self._remove(dataset, tag, "description without a known word")
            return
        element.value = text
        self.counts["description cleaned"] += 1

    def _move(self, dataset: Any, tag: Any, element: Any) -> None:
        text = str(element.value or "")[:8]
        try:
            day = datetime.datetime.strptime(text, "%Y%m%d").date() + self.shift
        except (ValueError, OverflowError):
            self._remove(dataset, tag, "date that is none")
            return
        element.value = day.strftime("%Y%m%d") + ("000000" if element.VR == "DT" else "")
        self.counts["date moved"] += 1

    def _sweep(self, dataset: Any, tag: Any, element: Any) -> None:
        """Codes and numbers stay unless they hold a value of the case, a pattern, or no code at all."""
        value = element.value
        text = " ".join(map(str, value)) if element.VM > 1 else str(value if value is not None else "")
        number = element.VR in ("IS", "DS")
        # "Sex M" is no initial of a name: single letters and short numbers are codes.
        own = len(re.sub(r"\W", "", text)) > 2 and any(
            end - start > 2 for start, end, _ in find_identity(text, self.known)
        )
        if number:
            wrong = own and element.VM == 1 and len(text) >= 5
        elif element.VR in _CODES:
            parts = [value] if element.VM <= 1 else list(value)
            wrong = own or not all(_CODE.match(str(part or "").strip()) for part in parts)
        else:
            wrong = own or _patterned(text)
        if wrong:
            self._remove(dataset, tag, "held a value of the case or no code")


@functools.cache
def _vocabulary() -> frozenset[str]:
    return frozenset(str(word).lower() for word in terms()["descriptions"])


_SURE = frozenset({"phone", "fax", "email", "ssn", "url", "ip", "date", "vehicle", "name"})


def _patterned(text: str) -> bool:
    """Whether a kept text holds a patterned identifier. Version numbers look like addresses and are none here."""
    for pattern in PATTERNS:
        if pattern.category not in _SURE or pattern.loose:
            continue
        for match in pattern.regex.finditer(text):
            if pattern.category == "date" and move_date(match, datetime.timedelta(0)) is None:
                continue
            if pattern.category == "ip" and re.fullmatch(r"[\d.]+", text):
                continue
            return True
    return False
