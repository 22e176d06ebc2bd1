"""Who a case is about, as its own header and registration row say it: the values that must not survive anywhere.

Convention: values are collected by category from every person-name, identifier, date, address and institution of the
DICOM header and from the columns of a registration row. Names are kept as written; their variants are made when texts
are searched (`search.py`).

Trap: this object is the most sensitive one of the whole pipeline. It is sealed in print, is never written, and lives
only while one case is worked on.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["COLUMNS", "CaseIdentity", "identity_from_header", "identity_from_row", "visible"]

# DICOM keyword -> category. Person names (VR PN) are collected wherever they stand, besides these.
_HEADER = {
    "PatientID": "record",
    "OtherPatientIDs": "record",
    "IssuerOfPatientID": "geography",
    "AccessionNumber": "record",
    "AdmissionID": "record",
    "StudyID": "record",
    "ServiceEpisodeID": "record",
    "MedicalRecordLocator": "record",
    "PerformedProcedureStepID": "record",
    "RequestedProcedureID": "record",
    "ScheduledProcedureStepID": "record",
    "FillerOrderNumberImagingServiceRequest": "record",
    "PlacerOrderNumberImagingServiceRequest": "record",
    "InsurancePlanIdentification": "plan",
    "PatientTelephoneNumbers": "phone",
    "PersonTelephoneNumbers": "phone",
    "InstitutionTelephoneNumbers": "phone",
    "ReferringPhysicianTelephoneNumbers": "phone",
    "PatientAddress": "geography",
    "InstitutionAddress": "geography",
    "ReferringPhysicianAddress": "geography",
    "PersonAddress": "geography",
    "InstitutionName": "geography",
    "InstitutionalDepartmentName": "geography",
    "StationName": "device",
    "DeviceSerialNumber": "device",
    "DetectorID": "device",
    "PatientBirthDate": "date",
    "PatientMotherBirthName": "name",
    "Occupation": "other",
    "RegionOfResidence": "geography",
}

COLUMNS: Mapping[str, str] = {
    "name": "name",
    "patient_name": "name",
    "姓名": "name",
    "contact_name": "name",
    "联系人": "name",
    "physician": "name",
    "surgeon": "name",
    "radiologist": "name",
    "医师": "name",
    "主治医师": "name",
    "address": "geography",
    "city": "geography",
    "zip": "geography",
    "住址": "geography",
    "地址": "geography",
    "hospital": "geography",
    "医院": "geography",
    "birth_date": "date",
    "出生日期": "date",
    "admission_date": "date",
    "discharge_date": "date",
    "phone": "phone",
    "电话": "phone",
    "手机": "phone",
    "fax": "fax",
    "传真": "fax",
    "email": "email",
    "邮箱": "email",
    "ssn": "ssn",
    "national_id": "ssn",
    "身份证号": "ssn",
    "record_number": "record",
    "mrn": "record",
    "住院号": "record",
    "门诊号": "record",
    "病案号": "record",
    "accession": "record",
    "检查号": "record",
    "plan_number": "plan",
    "医保号": "plan",
    "account": "account",
    "账号": "account",
    "licence": "licence",
    "证书编号": "licence",
    "vehicle": "vehicle",
    "车牌号": "vehicle",
    "device_serial": "device",
    "序列号": "device",
    "url": "url",
    "ip": "ip",
    "biometric": "biometric",
    "other_id": "other",
    "age": "age",
    "年龄": "age",
}
"""Columns of a registration row that are understood, with the category of their values."""

_EMPTY = re.compile(r"^(?:|none|unknown|anonymous|anonymized|n/?a|null|无|不详|未知|\W+)$", re.IGNORECASE)


@dataclass(frozen=True)
class CaseIdentity:
    """Values by category; print shows only how many."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<identity of {sum(map(len, self.values.values()))} values>"

    def of(self, category: str) -> tuple[str, ...]:
        """The values of one category."""
        return self.values.get(category, ())

    def joined(self, *others: CaseIdentity) -> CaseIdentity:
        """The values of several, each once, in order."""
        found: dict[str, dict[str, None]] = {}
        for each in (self, *others):
            for category, values in each.values.items():
                found.setdefault(category, {}).update(dict.fromkeys(values))
        return CaseIdentity({category: tuple(values) for category, values in found.items()})


def visible(text: str) -> str:
    """Text in composed form (Unicode NFC) without signs that show nothing: zero width, soft hyphens, stray accents.

    They would split a name for the search and not for a reader.
    """
    if text.isascii() and "\0" not in text:
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(sign for sign in composed if sign != "\0" and unicodedata.category(sign) not in ("Cf", "Mn", "Me"))


def _collect(pairs: Iterable[tuple[str, str]]) -> CaseIdentity:
    found: dict[str, dict[str, None]] = {}
    for category, value in pairs:
        value = visible(value).strip()
        if not _EMPTY.match(value):
            found.setdefault(category, {})[value] = None
    return CaseIdentity({category: tuple(values) for category, values in found.items()})


def identity_from_row(row: Mapping[str, str]) -> CaseIdentity:
    """The values of a registration row. Columns that are not in :data:`COLUMNS` are no identity."""
    return _collect(
        (COLUMNS[name.strip().lower()], value) for name, value in row.items() if name.strip().lower() in COLUMNS
    )


def identity_from_header(dataset: Any) -> CaseIdentity:
    """The values of a DICOM header, sequences included."""
    return _collect(_pairs(dataset))


def _pairs(dataset: Any) -> Iterable[tuple[str, str]]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _pairs(item)
            continue
        category = "name" if element.VR == "PN" else _HEADER.get(element.keyword)
        if category is None:
            continue
        many = element.value if element.VM > 1 else [element.value]
        for value in many:
            if value is not None:
                yield category, str(value)
