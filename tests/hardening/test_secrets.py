"""Secrets and patients planted on every road that writes or logs; then everything written and said is searched.

Convention: a planted value is searched as it is, in UTF-16, as JSON and URL escape it and in base64; files are searched
as bytes and, where they are packed (Parquet, gzip, PNG text, ZIP), by what they hold.

What is left out by name, and why: `held/` of a de-identification keeps what a person must look at, its originals belong
to whoever runs it, and neither is ever read by a later stage.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

KEY = "sk-planted-4f1c9d77e2aa51"
TOKEN = "hf_plantedQz7TgbNw51kRr"
PASSWORD = "planted Correct-Horse 93!"
NAME, RECORD, BIRTH = "Zyxwvut^Planted", "MRN77314159", "19610507"


def forms(value: str) -> set[bytes]:
    """A value as files hold it."""
    escaped = json.dumps(value)[1:-1]
    found = {value.encode(), value.encode("utf-16-le"), escaped.encode(), urllib.parse.quote(value).encode()}
    return found | {base64.b64encode(value.encode()).rstrip(b"=")[:-1]}


def unpacked(name: str, data: bytes) -> bytes:
    """A file's bytes, and what is packed inside."""
    more = [data]
    if data[:4] == b"PAR1":
        import pyarrow.parquet as pq

        more.append(repr(pq.read_table(io.BytesIO(data)).to_pydict()).encode("utf-8", "replace"))
    elif data[:2] == b"\x1f\x8b":
        more.append(gzip.decompress(data))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            more += [archive.read(one) for one in archive.namelist()]
    elif data[:4] == b"\x89PNG":
        for part in re.findall(
            rb"(?:zTXt|iTXt)[^\x00]{1,79}\x00+(x[\x01\x5e\x9c\xda].*?)(?=....[a-zA-Z]{4})", data, re.S
        ):
            more.append(zlib.decompressobj().decompress(part))
    return b"\n".join(more)


def leaks(folder: Path, planted: dict[str, str], *, said: str = "", left_out: tuple[str, ...] = ()) -> list[str]:
    """Where a planted value stands: in what was said, in a file, or in a file's name."""
    wanted = {what: forms(value) for what, value in planted.items()}
    places = [("said", said.encode())]
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not set(inside.parts) & set(left_out):
            places += [
                (f"{inside} (name)", str(inside).encode()),
                (str(inside), unpacked(path.name, path.read_bytes())),
            ]
    return [
        f"{what} in {place}" for place, data in places for what, some in wanted.items() if any(f in data for f in some)
    ]


def run(*words: str | Path, given: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spinemed", *map(str, words)],
        input=given, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **variables},
    )  # fmt: skip


def test_the_search_itself_finds_what_is_hidden(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image, PngImagePlugin

    told = PngImagePlugin.PngInfo()
    told.add_text("note", f"{NAME} " * 9, zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=told)
    pq.write_table(pa.table({"x": [f"of {NAME}"] * 50}), tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(NAME.encode() * 20))
    (tmp_path / "a.txt").write_bytes(base64.b64encode(NAME.encode()))
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / NAME).write_text("")
    found = leaks(tmp_path, {"name": NAME}, said=f"... {NAME}", left_out=("held",))
    assert len(found) == 5, found
    assert len(leaks(tmp_path, {"name": NAME})) == 5


# --- keys and passwords ----------------------------------------------------------------------------------------------


class Echo(BaseHTTPRequestHandler):
    """Refuses every request and repeats what it was sent, as careless servers do."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = f"Incorrect API key provided: {self.headers.get('Authorization')}; cookie {self.headers.get('Cookie')}"
        body = json.dumps({"error": {"message": said}}).encode()
        self.server.seen.append(self.headers.get("Authorization"))  # type: ignore[attr-defined]
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def echo() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _page(folder: Path) -> dict[str, Any]:
    (folder / "page").mkdir(parents=True)
    fact = "The lumbar spine usually has five vertebrae, and the disc between L4 and L5 degenerates most often. "
    (folder / "page" / "a.md").write_text(f"# Anatomy\n\n{fact * 3}\n", encoding="utf-8")
    return {"id": "page", "kind": "markdown", "path": "page", "licence": "CC-BY-4.0", "egress": "any",
            "allowed_use": ["train", "evaluate", "redistribute"], "attribution": "nobody"}  # fmt: skip


def _build(folder: Path, sources: list[dict[str, Any]], **changes: Any) -> Path:
    config = {
        "sources": "sources.yaml",
        "seed": 0,
        "release": {"fractions": {"train": 0.5, "validation": 0.1, "test": 0.4}},
    }
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": sources}))
    (folder / "build.yaml").write_text(yaml.safe_dump({**config, **changes}, sort_keys=False))
    return folder / "build.yaml"


@pytest.mark.parametrize("road", ["environment", "file"])
def test_a_servers_key_is_nowhere_even_when_the_server_repeats_it(
    road: str, echo: ThreadingHTTPServer, tmp_path: Path
) -> None:
    (tmp_path / "key.txt").write_text(KEY + "\n")
    given = {"api_key_env": "PLANTED_KEY"} if road == "environment" else {"api_key_file": str(tmp_path / "key.txt")}
    server = {
        "url": f"http://127.0.0.1:{echo.server_port}/v1",
        "model": "m",
        "attempts": 1,
        "give_up_after": 1,
        **given,
    }
    config = _build(
        tmp_path, [_page(tmp_path)], writer="openai",
        model={"server": server, "languages": ["en"], "documents": {"open": 1}},
    )  # fmt: skip
    done = run("data", "run", config, "--out", tmp_path / "run", PLANTED_KEY=KEY, HF_TOKEN=TOKEN)
    assert echo.seen, done.stderr  # type: ignore[attr-defined]
    assert echo.seen[0] == f"Bearer {KEY}"  # type: ignore[attr-defined]
    assert done.returncode == 2
    assert "401" in done.stderr
    assert list((tmp_path / "run").rglob("*.jsonl")), "no log was written"
    assert not leaks(tmp_path / "run", {"key": KEY, "token": TOKEN}, said=done.stdout + done.stderr)


@pytest.mark.parametrize("road", ["file", "--set"])
def test_a_password_in_a_url_is_refused_and_not_repeated(road: str, tmp_path: Path) -> None:
    url = f"http://planted:{KEY}@127.0.0.1:9/v1"
    server = {"url": url if road == "file" else "http://127.0.0.1:9/v1", "model": "m"}
    config = _build(tmp_path, [_page(tmp_path)], writer="openai", model={"server": server, "languages": ["en"]})
    more = [] if road == "file" else ["--set", f"model.server.url={url}"]
    done = run("data", "run", config, "--out", tmp_path / "run", *more)
    assert done.returncode == 2
    assert "api_key_file" in done.stderr
    assert not leaks(tmp_path / "run", {"password": KEY}, said=done.stdout + done.stderr)


def test_the_doctor_tells_no_token(tmp_path: Path) -> None:
    done = run("doctor", "--json", HF_TOKEN=TOKEN, OPENAI_API_KEY=KEY, HTTPS_PROXY=f"http://u:{KEY}@127.0.0.1:9")
    json.loads(done.stdout)
    assert not leaks(tmp_path, {"key": KEY, "token": TOKEN}, said=done.stdout + done.stderr)


def test_passwords_and_cookies_of_a_review_are_nowhere(tmp_path: Path) -> None:
    base = ("--database", tmp_path / "review.sqlite", "--data", tmp_path / "data")
    added = run("review", "user", "add", "a1", "--role", "reviewer", "--group", "A", *base, given=PASSWORD + "\n")
    assert added.returncode == 0, added.stderr
    child = subprocess.Popen(
        [sys.executable, "-m", "spinemed", "review", "serve", *map(str, base), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said, wrong, cookies = [], "planted wrong 5521", CookieJar()
    try:
        assert child.stdout is not None
        address = ""
        for line in child.stdout:
            said.append(line)
            if line.startswith("http"):
                address = line.strip().rstrip("/")
                break
        assert address, "".join(said)
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        for password in (wrong, PASSWORD):
            page = browser.open(f"{address}/login", timeout=30).read().decode()
            hidden = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', page))
            fields = urllib.parse.urlencode({"name": "a1", "password": password, **hidden}).encode()
            try:
                answer = browser.open(f"{address}/login", fields, timeout=30).status
            except urllib.error.HTTPError as error:
                answer = error.code
                error.close()
            assert answer == (401 if password == wrong else 200)
    finally:
        child.terminate()
        said.append(child.communicate(timeout=30)[0] or "")
    session = {f"cookie {one.name}": str(one.value) for one in cookies if len(str(one.value)) > 15}
    assert session, "nobody was logged in"
    log = run("review", "verify-log", *base)
    planted = {"password": PASSWORD, "wrong password": wrong, **session}
    everything = added.stdout + added.stderr + "".join(said) + log.stdout + log.stderr
    assert not leaks(tmp_path, planted, said=everything)


def test_the_password_of_a_database_is_not_repeated(tmp_path: Path) -> None:
    url = f"postgresql://planted:{KEY}@127.0.0.1:9/none"
    base = ("--database", url, "--data", tmp_path / "data")
    done = run("review", "user", "add", "a1", "--role", "reviewer", "--group", "A", *base, given=PASSWORD + "\n")
    assert done.returncode == 2, done.stderr
    assert not leaks(tmp_path, {"password": KEY, "user's": PASSWORD}, said=done.stdout + done.stderr)


# --- patients --------------------------------------------------------------------------------------------------------


def test_patients_of_an_export_stand_in_nothing_that_leaves(samples: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    shutil.copytree(samples / "hospital" / "export", export)
    with open(export / "patients.csv", encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    broken = export / "dicom" / rows[0]["record_number"] / "image.dcm"
    broken.write_bytes(broken.read_bytes()[:900])  # a fault on the way may not tell whose file it is
    out = tmp_path / "clean"
    done = run("data", "deidentify", export, "--out", out, "--key", tmp_path / "project.key", "--new-key")
    assert (out / "deid.jsonl").is_file(), done.stderr
    secret = (tmp_path / "project.key").read_text().strip()
    planted = {"project key": secret} | {
        f"{column} of row {number}": row[column]
        for number, row in enumerate(rows, 1)
        for column in ("name", "record_number", "birth_date", "phone", "address", "physician")
        if len(row[column].encode()) > 5
    }
    assert len(planted) > 40
    assert not leaks(out, planted, said=done.stdout + done.stderr, left_out=("held",))


def dicom(path: Path, number: int) -> None:
    """One slice of a CT with a patient in its header."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    one = pydicom.Dataset()
    one.PatientName, one.PatientID, one.PatientBirthDate = NAME, RECORD, BIRTH
    one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{number + 1}"
    one.SeriesInstanceUID, one.StudyInstanceUID, one.Modality = "1.2.3", "1.2", "CT"
    one.StudyDescription = one.PatientComments = f"spine of {NAME}"
    one.Rows = one.Columns = 24
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation, one.SamplesPerPixel = 16, 16, 15, 1, 1
    one.PhotometricInterpretation, one.PixelSpacing, one.SliceThickness = "MONOCHROME2", [2, 2], 2
    one.ImageOrientationPatient, one.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2.0 * number]
    one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 1, -1024, "HU"
    one.PixelData = np.random.default_rng(number).integers(0, 1500, size=(24, 24)).astype("<i2").tobytes()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    one.save_as(path, enforce_file_format=True)


def nifti(path: Path) -> None:
    """A CT with a patient in the free texts of its header."""
    import nibabel as nib

    image = nib.Nifti1Image(np.random.default_rng(0).integers(-200, 900, size=(20, 24, 22)).astype(np.int16), np.eye(4))
    image.set_sform(np.eye(4), code=1)
    image.header["descrip"], image.header["db_name"] = f"{NAME} {RECORD}".encode(), RECORD.encode()
    image.header["aux_file"], image.header["intent_name"] = BIRTH.encode(), RECORD.encode()
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", NAME.encode()))
    nib.save(image, path)


def paper(path: Path) -> None:
    """A page with a patient in the properties of its file."""
    from reportlab.pdfgen import canvas

    page = canvas.Canvas(str(path), invariant=1)
    page.setAuthor(NAME)
    page.setTitle(f"Report of {NAME}")
    page.setSubject(RECORD)
    page.setKeywords(BIRTH)
    for line in range(12):
        page.drawString(60, 700 - 20 * line, "The lumbar spine usually has five vertebrae, and its discs lose height.")
    page.save()


PATIENT = {"name": NAME, "record number": RECORD, "birth date": BIRTH, "name as text": NAME.replace("^", " ")}


def test_a_run_over_images_keeps_no_patient_of_their_headers(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for number in range(4):
        dicom(tmp_path / "series" / f"{number}.dcm", number)
    (tmp_path / "volume").mkdir()
    nifti(tmp_path / "volume" / "ct.nii.gz")
    common = {"licence": "CC-BY-4.0", "allowed_use": ["train", "evaluate", "redistribute"], "attribution": "nobody",
              "legal_basis": "made by a test", "split": "train"}  # fmt: skip
    study = {"image": "ct.nii.gz", "modality": "CT", "group": "p1", "truth": "none", "no_anchor_in_view": True}
    (tmp_path / "paper").mkdir()
    paper(tmp_path / "paper" / "a.pdf")
    sources = [
        {**common, "id": "paper", "kind": "pdf", "path": "paper"},
        {**common, "id": "series", "kind": "dicom", "path": "series", "options": {"published": True}},
        {**common, "id": "volume", "kind": "nifti", "path": "volume", "options": {"studies": [study]}},
    ]
    done = run("data", "run", _build(tmp_path, sources), "--out", tmp_path / "run")
    assert list((tmp_path / "run").rglob("*.parquet")), done.stderr
    assert not leaks(tmp_path / "run", PATIENT, said=done.stdout + done.stderr)


def test_tools_tell_a_model_no_patient_and_log_none(tmp_path: Path) -> None:
    from spinemed.tools import Toolbox

    root = tmp_path / "root"
    root.mkdir()
    nifti(root / f"{RECORD}.nii.gz")
    (root / f"{RECORD}_cut.nii.gz").write_bytes((root / f"{RECORD}.nii.gz").read_bytes()[:2000])
    written = tmp_path / "log"
    written.mkdir()
    box = Toolbox(root, log=written / "calls.jsonl")
    listed = box.call("list_images", {})
    handles = set(re.findall(r"[a-z]+-[0-9a-f]{6,}", listed.text))
    replies = [listed.text, *(box.call("describe_image", {"image": handle}).text for handle in handles)]
    replies.append(box.call("describe_image", {"image": "../" * 9 + "etc/passwd"}).text)
    assert (written / "calls.jsonl").read_text().count("\n") == len(replies)
    assert not leaks(written, PATIENT, said="\n".join(replies))


def test_a_volume_is_written_without_the_texts_of_its_header(tmp_path: Path) -> None:
    from spinemed.volume import read_nifti, write_nifti

    nifti(tmp_path / "in.nii.gz")
    assert len(leaks(tmp_path, PATIENT)) >= 3
    (tmp_path / "out").mkdir()
    write_nifti(read_nifti(tmp_path / "in.nii.gz", unit="HU"), tmp_path / "out" / "out.nii.gz")
    assert not leaks(tmp_path / "out", PATIENT)


def test_what_goes_to_the_decoder_of_compressed_pixels_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pydicom

    from spinemed.volume import decode

    dicom(tmp_path / "0.dcm", 0)
    one = pydicom.dcmread(tmp_path / "0.dcm")
    one.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    sent: list[bytes] = []
    real: Callable[..., Any] = decode.run_native
    monkeypatch.setattr(decode, "run_native", lambda job, content: (sent.append(content), real(job, content))[1])
    assert decode.stored_pixels(one).shape == (24, 24)
    assert len(sent) == 1
    assert not leaks(tmp_path / "none", PATIENT, said=sent[0].decode("latin-1"))
