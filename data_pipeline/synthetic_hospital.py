# ruff: noqa: E501 -- sentences of notes
"""Ten made-up patients as a hospital would export them: registration, notes in English or Chinese, one small image each.

Convention: everything is drawn from a seed: diagnosis, level, names, dates, addresses. The images are phantoms in DICOM
files. `python -m data_pipeline.synthetic_hospital samples/hospital` writes the bundled export again, byte for byte.

Trap: nobody here exists, and no finding was ever seen in anybody. The export holds made-up identifiers on purpose: it is
what `spinemed data deidentify` is shown on.
"""

from __future__ import annotations

import csv
import datetime
import io
import sys
from pathlib import Path

import numpy as np

from spinemed.phantom import PhantomConfig, draw_phantom, render_phantom
from spinemed.tables import atomic_folder

__all__ = ["write_hospital"]

Notes = dict[tuple[str, int], str]
_SEED = 6
_EN = ["Arthur Pennington", "Beatrix Holloway", "Conrad Lindgren", "Delia Marchbanks", "Edmund Cobb"]
_ZH = ["顾文轩", "叶婉清", "欧阳立新", "沈浩宇", "裴雨桐"]
_DOCTORS_EN = ["Harriet Voss", "Lionel Achterberg"]
_DOCTORS_ZH = ["孟庆华", "乔安平"]
_PLACES_EN = ["17 Thornbury Lane, Eastmere, OR 97035", "402 Willow Court, Apt 2, Harlow Falls, ME 04210"]
_PLACES_ZH = ["江苏省南通市崇川区濠南路18号2栋301室", "四川省绵阳市涪城区临园路56号"]

_CASES_EN = (
    ("L4/5", "disc herniation", "left leg pain in the L5 distribution", "straight leg raising positive at 40 degrees on the left",
     "T2-weighted images show a left paracentral disc extrusion at L4/5, Pfirrmann grade IV, with compression of the left L5 root. Cobb angle 8 degrees.",
     "Microdiscectomy at L4/5 on the left. The fragment was removed and the L5 root lay free.", "Leg pain has resolved; strength of the extensor hallucis longus is 5/5."),
    ("L4/5", "degenerative slip with stenosis", "claudication after 200 metres, relieved by sitting", "power 4/5 of dorsiflexion on both sides",
     "Grade I anterolisthesis of L4 on L5 (Meyerding I) with severe central stenosis, Schizas grade C.",
     "Decompression and instrumented fusion L4-L5 with pedicle screws.", "Walks 2 km; radiographs show the screws in place at L4 and L5."),
    ("T12", "osteoporotic fracture", "mid-back pain after a fall from standing", "tender over T12, no neurological deficit",
     "Wedge fracture of T12 with a height loss of 30 percent, Genant grade 2. No retropulsion. AO type A1, TLICS 1.",
     "No operation. Orthosis and treatment of osteoporosis were begun.", "Pain is 2 of 10; no further loss of height at T12."),
    ("C5/6", "cervical radiculopathy", "neck pain radiating to the right thumb", "Spurling's sign positive on the right, C6 sensation reduced",
     "Right foraminal osteophyte at C5/6 narrows the foramen of the C6 root. No change of cord signal.",
     "Anterior discectomy and fusion C5-C6.", "Arm pain has gone; the cage at C5/6 is in place."),
    ("T8", "adolescent idiopathic scoliosis", "asymmetry of the shoulders", "rib hump of 12 degrees on forward bending",
     "Right thoracic curve, Cobb angle 46 degrees, apex T8, Lenke type 1A, Risser 2.",
     "Posterior correction T4 to L1.", "Cobb angle 14 degrees after correction; balance is restored."),
)  # fmt: skip
_CASES_ZH = (
    ("L5/S1", "腰椎间盘突出症", "腰痛伴右下肢放射痛", "右侧直腿抬高试验40°阳性，右足跖屈肌力4级",
     "L5/S1椎间盘向右后方突出，Pfirrmann IV级，压迫右侧S1神经根。Modic II型改变。",
     "行L5/S1椎间盘切除术，S1神经根松弛。", "右下肢疼痛消失，直腿抬高70°阴性。"),
    ("L1", "骨质疏松性椎体压缩骨折", "摔倒后腰背痛", "L1棘突叩痛，双下肢肌力5级",
     "L1椎体楔形变，前缘高度丢失约35%，后壁完整，Genant 2级。", "行L1经皮椎体成形术，骨水泥分布良好。", "腰背痛明显缓解，L1高度无进一步丢失。"),
    ("C4/5", "脊髓型颈椎病", "双手麻木、行走不稳", "Hoffmann征阳性，双上肢肌力4级",
     "C4/5、C5/6椎间盘突出，脊髓受压，T2高信号。", "行C4/5、C5/6前路减压融合术。", "mJOA评分由11分升至15分。"),
    ("L4/5", "腰椎管狭窄症", "间歇性跛行300米", "腰椎后伸受限，足背动脉搏动良好",
     "L4/5椎管狭窄，Schizas C级，黄韧带肥厚。", "行L4/5后路减压术。", "步行距离2公里，无跛行。"),
    ("T11", "胸椎爆裂骨折", "高处坠落后背痛", "双下肢肌力5级，ASIA E级",
     "T11爆裂骨折，AO A3型，椎管占位20%，TLICS 4分。", "行T10至T12后路内固定术。", "骨折愈合，Cobb角6°。"),
)  # fmt: skip


def write_hospital(folder: Path, *, seed: int = _SEED) -> None:
    """Write the export of ten patients, five English and five Chinese, replacing `folder/export`."""
    with atomic_folder(folder / "export") as out:
        rows, notes = [], []
        for index in range(10):
            rng = np.random.default_rng([seed, index])
            row, first, own = _patient(index, rng, english=index % 2 == 0)
            rows.append(row)
            notes += [
                {
                    "record_number": row["record_number"],
                    "date": (first + datetime.timedelta(days=days)).isoformat(),
                    "kind": kind,
                    "text": text,
                }
                for (kind, days), text in own.items()
            ]
            home = out / "dicom" / row["record_number"]
            home.mkdir(parents=True)
            _image(home / "image.dcm", index, row, first, rng)
        _table(out / "patients.csv", rows)
        _table(out / "notes.csv", notes)


def _table(path: Path, rows: list[dict[str, str]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(stream.getvalue(), encoding="utf-8", newline="\n")


def _patient(index: int, rng: np.random.Generator, *, english: bool) -> tuple[dict[str, str], datetime.date, Notes]:
    number = index // 2
    name = (_EN if english else _ZH)[number]
    record = f"{'MR' if english else 'ZY'}{rng.integers(10**6, 10**7)}"
    born = datetime.date(1936, 1, 1) + datetime.timedelta(days=int(rng.integers(0, 20000)))
    first = datetime.date(2021, 1, 4) + datetime.timedelta(days=int(rng.integers(0, 900)))
    sex = "M" if number in (0, 2, 4) else "F"
    doctor = str(rng.choice(_DOCTORS_EN if english else _DOCTORS_ZH))
    address = str(rng.choice(_PLACES_EN if english else _PLACES_ZH))
    phone = f"(503) 555-01{rng.integers(10, 99)}" if english else f"139{rng.integers(10**7, 10**8)}"
    row = {
        "name": name, "record_number": record, "birth_date": born.isoformat(), "sex": sex,
        "age": str((first - born).days // 365), "phone": phone, "address": address, "physician": doctor,
        "hospital": "Eastmere General Hospital" if english else "南通市濠河医院",
    }  # fmt: skip
    return row, first, _notes_en(number, row, first) if english else _notes_zh(number, row, first)


def _notes_en(number: int, row: dict[str, str], first: datetime.date) -> Notes:
    level, what, complaint, sign, report, operation, later = _CASES_EN[number]
    family = row["name"].split()[-1]
    said = first.strftime("%d %B %Y")
    return {
        ("history", 0): f"{row['name']}, MRN {row['record_number']}, was seen on {said}. The patient reports {complaint} for "
        f"six weeks. Lives at {row['address']}; telephone {row['phone']}.",
        ("examination", 0): f"On examination: {sign}. Reflexes are symmetric. Examined by Dr. {row['physician']}.",
        ("imaging_report", 2): f"MRI of {(first + datetime.timedelta(days=2)).isoformat()}. {report}",
        ("operation_note", 9): f"Diagnosis: {what} at {level}. {operation} Surgeon: Dr. {row['physician']}.",
        ("follow_up", 95): f"{'Mr' if row['sex'] == 'M' else 'Ms'}. {family} came for review. {later}",
    }  # fmt: skip


def _notes_zh(number: int, row: dict[str, str], first: datetime.date) -> Notes:
    level, what, complaint, sign, report, operation, later = _CASES_ZH[number]
    said = f"{first.year}年{first.month}月{first.day}日"
    return {
        ("history", 0): f"患者{row['name']}，住院号{row['record_number']}，{said}入院。主诉：{complaint}6周。住址：{row['address']}，电话{row['phone']}。",
        ("examination", 0): f"查体：{sign}。主治医师：{row['physician']}。",
        ("imaging_report", 2): f"影像所见：{report}报告医师：{row['physician']}。",
        ("operation_note", 9): f"诊断：{level}{what}。{operation}",
        ("follow_up", 95): f"{row['name']}术后复查。{later}",
    }  # fmt: skip


def _image(path: Path, index: int, row: dict[str, str], first: datetime.date, rng: np.random.Generator) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    image = render_phantom(draw_phantom(_SEED, index, PhantomConfig(size_px=(64, 64))))
    uid = f"1.2.826.0.1.3680043.10.1361.{index + 1}.{rng.integers(10**6, 10**7)}"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    found.SpecificCharacterSet = "ISO_IR 192"
    found.SOPClassUID, found.SOPInstanceUID, found.Modality = MRImageStorage, uid, "MR"
    found.PatientName, found.PatientID = row["name"].replace(" ", "^"), row["record_number"]
    found.PatientBirthDate, found.PatientSex = row["birth_date"].replace("-", ""), row["sex"]
    found.StudyDate, found.InstitutionName = first.strftime("%Y%m%d"), row["hospital"]
    found.ReferringPhysicianName = row["physician"].replace(" ", "^")
    found.StudyInstanceUID, found.SeriesInstanceUID = f"{uid}.1", f"{uid}.2"
    found.BodyPartExamined, found.SeriesDescription = "LSPINE", f"T2 SAG {row['name'].split()[-1]}"
    found.ImageType = ["ORIGINAL", "PRIMARY"]
    found.ImagePositionPatient, found.ImageOrientationPatient = [0, 0, 0], [0, 1, 0, 0, 0, -1]
    found.PixelSpacing, found.SliceThickness = [image.spacing_mm, image.spacing_mm], 4
    found.Rows, found.Columns = image.image.shape
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit, found.PixelRepresentation = 7, 0
    found.SamplesPerPixel, found.PhotometricInterpretation = 1, "MONOCHROME2"
    found.PixelData = np.ascontiguousarray(image.image).tobytes()
    found["PixelData"].VR = "OB"
    found.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    write_hospital(Path(sys.argv[1] if len(sys.argv) > 1 else "samples/hospital"))
