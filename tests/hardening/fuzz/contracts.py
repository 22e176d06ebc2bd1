"""Files between the rooms: JSON lines, Parquet, manifests, centroids, grades, scores, other programs' tables.

Convention: Parquet is damaged as bytes, at its footer, and as a valid file of other columns, types and values.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

from engine import Input, Seed, Target
from mutate import Generator, any_bytes, any_json, any_text, damage_bytes, damage_value, pick

from spinemed.records import Document, Finding, Prediction, ReleaseRow, Sample, Span
from spinemed.tables import read_jsonl, read_manifest, read_records, write_records

_SHA = "0" * 64
_TEXT = "Disc height fell."


def _records() -> dict[str, Any]:
    message = {"role": "user", "content": "Which disc?"}
    document = {
        "id": "doc-1",
        "source_id": "s",
        "title": "t",
        "language": "en",
        "file": "f",
        "sha256": _SHA,
        "text": _TEXT,
        "licence": "CC-BY-4.0",
        "attribution": "a",
        "group_id": "s:f",
    }
    span = {
        "id": "span-1",
        "document_id": "doc-1",
        "kind": "paragraph",
        "start": 0,
        "end": len(_TEXT),
        "text": _TEXT,
        "section": "",
        "locator": "p",
    }
    prediction = {
        "sample_id": "a",
        "model": "m",
        "condition": "full",
        "outcome": "answered",
        "text": "B",
        "detail": "",
        "request_sha256": _SHA,
    }
    return {
        "message": message,
        "Document": document,
        "Span": span,
        "Prediction": prediction,
        "Finding": {"kind": "modality", "value": "CT"},
    }


_MODELS: dict[str, Any] = {
    "Document": Document,
    "Span": Span,
    "Prediction": Prediction,
    "Finding": Finding,
    "Sample": Sample,
    "ReleaseRow": ReleaseRow,
}


# --- JSON ------------------------------------------------------------------------------------------------------------


def _jsonl_seeds(samples: Path) -> list[Seed]:
    rows = _records()
    return [
        Seed(f"{name.lower()}.jsonl", (json.dumps(rows[name]) + "\n").encode() * 3, name)
        for name in ("Prediction", "Document", "Finding")
    ]


def _jsonl(path: Path, given: Input) -> object:
    return list(read_jsonl(path, _MODELS[given.seed.tag]))


def _predictions(path: Path, given: Input) -> object:
    from bench.runner.predict import read_predictions

    return read_predictions(path)


def _prediction_seeds(samples: Path) -> list[Seed]:
    row = _records()["Prediction"]
    lines = [json.dumps({**row, "sample_id": name}) for name in "abc"]
    return [Seed("predictions.jsonl", "\n".join(lines).encode() + b"\n")]


def _manifest_seeds(samples: Path) -> list[Seed]:
    value = {"kind": "corpus", "files": {"a.txt": {"sha256": _SHA, "bytes": 3}}, "sha256": _SHA, "rows": 1}
    return [Seed("manifest.json", json.dumps(value).encode())]


def _manifest(path: Path, given: Input) -> object:
    (path.parent / "a.txt").write_text("abc")
    return read_manifest(path.parent, "corpus")


def _centroid_seeds(samples: Path) -> list[Seed]:
    verse = [{"direction": ["P", "I", "R"]}, *({"label": n, "X": 10.5, "Y": 3.0 * n, "Z": 20.0} for n in (20, 21, 22))]
    head = {"direction": ["P", "I", "R"], "shape": [40, 90, 40], "zoom": [1, 1, 1], "format": "POI"}
    poi = [head, {"L1": {"Vertebra_Corpus": [11, 12, 13]}, "21": {"50": [12, 40, 13]}}]
    return [
        Seed("sub-verse004_seg-subreg_ctd.json", json.dumps(verse).encode()),
        Seed("sub-verse004_ctd.json", json.dumps(verse).encode()),
        Seed("sub-verse005_seg-subreg_ctd.json", json.dumps(poi).encode()),
    ]


def _centroids(path: Path, given: Input) -> object:
    import numpy as np

    from spinemed.labelling.centroids import read_centroids
    from spinemed.volume import Volume

    scan = Volume(np.zeros((40, 40, 90), dtype=np.uint8), np.diag([1.0, 1.0, 1.0, 1.0]), "label", "", "", {})
    return read_centroids(path, image_or_mask=scan)


def _nnunet(path: Path, given: Input) -> object:
    from spinemed.labelling.masks import read_nnunet_labels

    return read_nnunet_labels(path)


def _nnunet_seeds(samples: Path) -> list[Seed]:
    new = {"labels": {"background": 0, "L1": 1, "vertebrae_L2": 2, "sacrum": 3}}
    old = {"labels": {"0": "background", "1": "L1", "2": "L2"}}
    return [Seed("dataset.json", json.dumps(value).encode()) for value in (new, old)]


def _reference_seeds(samples: Path) -> list[Seed]:
    wide = {"train": {"sub-1_20": 0, "sub-1_21": 1}, "test": {"sub-2_20": 3}}
    long = "case,level,grade\nsub-1,L1,0\nsub-1,L2,2\nsub-2,T12,1\n"
    return [Seed("grades.json", json.dumps(wide).encode()), Seed("grades.csv", long.encode())]


def _reference(path: Path, given: Input) -> object:
    from bench.fracture.reference import read_reference

    return read_reference(path)


def _grade_predictions(path: Path, given: Input) -> object:
    from bench.fracture.predictions import read_predictions

    return read_predictions(path)


def _scores(path: Path, given: Input) -> object:
    from bench.fracture.records import read_scores

    return read_scores(path)


def change_mixed(rng: Generator, seeds: list[Seed]) -> Input:
    """JSON as values, anything else as text."""
    seed = pick(rng, seeds)
    return any_json(rng, [seed]) if seed.name.endswith((".json", ".jsonl")) else any_text(rng, [seed])


# --- other programs' tables ------------------------------------------------------------------------------------------


def _engine_seeds(samples: Path) -> list[Seed]:
    row = {
        "id": 1,
        "metadata": {"sample_id": "a"},
        "output": {"choices": [{"stop_reason": "stop", "message": {"content": "B"}}]},
    }
    log = {"eval": {"model": "m", "packages": {"inspect_ai": "1"}, "task": "t"}, "samples": [row]}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": log["eval"]}))
        archive.writestr("samples/1.json", json.dumps(row))
    kit = "index\tsample_id\tprediction\n1\ta\tB\n2\tb\tC\n"
    lines = json.dumps({"spinebench": {"sample_id": "a"}, "resps": [["B"]]}) + "\n"
    return [
        Seed("log.json", json.dumps(log).encode()),
        Seed("log.eval", stream.getvalue()),
        Seed("kit.tsv", kit.encode()),
        Seed("kit.json", json.dumps([{"sample_id": "a", "prediction": "B"}]).encode()),
        Seed("kit.xlsx", _sheet()),
        Seed("x_samples_spinebench.jsonl", lines.encode()),
    ]


def _sheet() -> bytes:
    from openpyxl import Workbook

    book, stream = Workbook(), io.BytesIO()
    for row in (("sample_id", "prediction"), ("a", "B"), ("b", 3)):
        book.active.append(row)
    book.save(stream)
    return stream.getvalue()


def change_engine(rng: Generator, seeds: list[Seed]) -> Input:
    """As :func:`change_mixed`; archives also by their members."""
    seed = pick(rng, seeds)
    if not seed.name.endswith((".eval", ".xlsx")):
        return change_mixed(rng, [seed])
    if rng.random() < 0.4:
        return any_bytes(rng, [seed])
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seed.data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        chosen, how = str(pick(rng, old.namelist())), ""
        for name in old.namelist():
            data = old.read(name)
            if name == chosen:
                way = rng.random()
                if way < 0.2:
                    how = f"{name} left out"
                    continue
                if way < 0.22:
                    data, how = bytes(300_000_000), f"{name} unpacks to 300 MB"
                elif way < 0.7 and name.endswith("json"):
                    value, how = damage_value(rng, json.loads(data))
                    data = json.dumps(value).encode()
                else:
                    data, how = damage_bytes(rng, data)
            new.writestr(name, data)
    return Input(seed, stream.getvalue(), f"{chosen}: {how}")


def _engine(path: Path, given: Input) -> object:
    from bench.adapters.inspect_log import read_inspect
    from bench.adapters.lmms_eval import read_lmms_eval
    from bench.adapters.vlmevalkit import read_vlmevalkit

    if path.name.startswith("log"):
        return read_inspect(path)
    if path.name.startswith("kit"):
        return read_vlmevalkit([path], model="m")
    return read_lmms_eval(path, model="m")


def _imported_seeds(samples: Path) -> list[Seed]:
    rows = '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]'
    return [Seed("t.csv", b"a,b\n1,x\n2,y\n"), Seed("t.json", rows.encode()), Seed("t.jsonl", b'{"a": 1}\n{"a": 2}\n')]


def _imported(path: Path, given: Input) -> object:
    from bench.importers.gather import read_lines, read_table

    return list(read_table(path, ["a"]) if path.suffix == ".csv" else read_lines(path))


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _parquet_seeds(samples: Path) -> list[Seed]:
    import tempfile

    rows, found = _records(), []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("Document", "Span"):
            path = Path(folder) / "t.parquet"
            model = _MODELS[name]
            write_records(path, model, [model.model_validate(rows[name])] * 5)
            found.append(Seed(f"{name.lower()}.parquet", path.read_bytes(), name))
    return found


def change_parquet(rng: Generator, seeds: list[Seed]) -> Input:
    """Bytes, the footer's, or a valid file of other values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    seed, way = pick(rng, seeds), rng.random()
    if way < 0.25:
        return any_bytes(rng, seeds)
    size = struct.unpack("<I", seed.data[-8:-4])[0]
    start = len(seed.data) - 8 - size
    if way < 0.55:
        footer, how = damage_bytes(rng, seed.data[start:-8])
        length = len(footer) if rng.random() < 0.8 else int(pick(rng, (0, 1, 2**31 - 1, 2**32 - 1, len(seed.data))))
        return Input(seed, seed.data[:start] + footer + struct.pack("<I", length) + b"PAR1", f"footer: {how}")
    if way < 0.65:
        body, how = damage_bytes(rng, seed.data[4:start])
        body = body[: start - 4].ljust(start - 4, b"\x00")
        return Input(seed, b"PAR1" + body + seed.data[start:], f"pages: {how}")
    table = pq.read_table(io.BytesIO(seed.data))
    columns = {name: table[name] for name in table.column_names}
    name = str(pick(rng, list(columns)))
    others: list[Any] = [
        pa.nulls(5),
        pa.array([1, 2, 3, 4, 2**62]),
        pa.array([float("nan")] * 5),
        pa.array([b"\xff\xfe"] * 5),
        pa.array([["x"], [], None, ["y"], ["z"]]),
        pa.array([{"a": 1}] * 5),
        pa.array(["\x00", "", " ", "é" * 9, "x"]),
        pa.array([0, 1, 2, 3, 4], pa.timestamp("ns")),
        pa.array([True] * 5),
        pa.array(["x" * 100_000] * 5),
        pa.array([b"\xff\xfe"] * 5).view(pa.string()) if rng.random() < 0.5 else pa.array(["a", None, "b", None, "c"]),
        pa.array(["x"] * 5).dictionary_encode(),
        pa.array([-1, 2**40, 0, 5, 9]),
    ]
    edit = int(rng.integers(4))
    if edit == 0:
        del columns[name]
        how = f"{name} removed"
    elif edit == 1:
        columns["more"] = columns[name]
        how = "a column more"
    else:
        columns[name], how = pick(rng, others), f"{name} of other values"
    stream = io.BytesIO()
    codec = str(pick(rng, ("zstd", "snappy", "gzip", "none", "lz4")))
    pq.write_table(pa.table(columns), stream, compression=codec)
    return Input(seed, stream.getvalue(), f"{how}, {codec}")


def _parquet(path: Path, given: Input) -> object:
    return list(read_records(path, _MODELS[given.seed.tag]))


TARGETS = [
    Target("jsonl", _jsonl_seeds, any_json, _jsonl),
    Target("predictions", _prediction_seeds, any_json, _predictions),
    Target("parquet", _parquet_seeds, change_parquet, _parquet),
    Target("manifest", _manifest_seeds, any_json, _manifest),
    Target("centroids", _centroid_seeds, any_json, _centroids),
    Target("nnunet", _nnunet_seeds, any_json, _nnunet),
    Target("grades-reference", _reference_seeds, change_mixed, _reference),
    Target("engines", _engine_seeds, change_engine, _engine),
    Target("importers", _imported_seeds, change_mixed, _imported),
]
