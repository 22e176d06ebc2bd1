"""Files between rooms: whole or absent, validated on read, equal for equal records."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from spinemed.anatomy import Level
from spinemed.errors import ReadError, RecordError
from spinemed.records import (
    Evidence,
    ImageBlob,
    Instance,
    LevelMark,
    Message,
    Option,
    PackedImage,
    ReleaseRow,
    Span,
    Study,
    Writer,
    content_hash,
    escape_placeholder,
)
from spinemed.tables import (
    arrow_schema,
    atomic_folder,
    atomic_write,
    file_sha256,
    read_jsonl,
    read_manifest,
    read_records,
    write_jsonl,
    write_manifest,
    write_records,
)

HASH = hashlib.sha256(b"x").hexdigest()


def asked(answer: str) -> list[Message]:
    return [Message(role="user", content="<image> Which?"), Message(role="assistant", content=answer)]


def instance(**changes: object) -> Instance:
    values: dict[str, object] = {
        "id": "i1",
        "stage": "draft",
        "source_id": "s",
        "group_id": "g",
        "origin": "phantom",
        "axis": "level_identification",
        "task": "level",
        "messages": asked("T13"),
        "image_sha256": [HASH],
        "answer": "T13",
        "answer_kind": "level",
        "levels": [Level.T13, Level.L6],
        "evidence": [Evidence(kind="study", id="st", sha256=HASH)],
        "writer": Writer(name="rules", version="1", prompt_sha256=HASH, request_sha256=HASH),
    }
    return Instance.model_validate(values | changes)


def study() -> Study:
    return Study(
        id="st",
        source_id="s",
        group_id="g",
        origin="phantom",
        modality="CT",
        plane="sagittal",
        image_sha256=HASH,
        width_px=4,
        height_px=5,
        spacing_mm=2.5,
        marks=(LevelMark(level=Level.L1, x_px=1.0, y_px=2.0), LevelMark(level=None, x_px=1.5, y_px=3.0)),
        numbering_determinable=False,
        truth="phantom",
        provenance="{}",
    )


RECORDS = [
    instance(),
    instance(
        answer_kind="option",
        answer="B",
        options=[Option(key="A", text="x"), Option(key="B", text="y")],
        messages=asked("B"),
    ),
    study(),
    ImageBlob(sha256=HASH, bytes=b"\x00\xff", format="png", width_px=1, height_px=1),
    ReleaseRow(
        id="r", split="test", messages=tuple(asked("wedge")),
        images=(PackedImage(bytes=b"\x89PNG", path=f"{HASH}.png"),), axis="pathology", task="category",
        language="en", answer="wedge", answer_kind="category", options=(), categories=("none", "wedge"),
        levels=(Level.L2,), origin="phantom", source_id="s", group_id="g", licence="Apache-2.0", attribution="",
        evidence_ids=("e",), instance_sha256=HASH, tags=(),
    ),
]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_come_back_equal(tmp_path: Path, record: Instance) -> None:
    path = tmp_path / "rows.parquet"
    assert write_records(path, type(record), [record, record]) == 2
    assert list(read_records(path, type(record))) == [record, record]


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_records(tmp_path / name, Instance, (instance(id=str(n)) for n in range(3000)))
    assert file_sha256(tmp_path / "a") == file_sha256(tmp_path / "b")


def test_no_rows_is_a_valid_file(tmp_path: Path) -> None:
    write_records(tmp_path / "none", Span, [])
    assert list(read_records(tmp_path / "none", Span)) == []


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_truncated_parquet_names_the_file_and_the_cure(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "rows.parquet"
    write_records(path, Instance, [instance()])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ReadError, match=r"rows.parquet: is not a complete Parquet file.*Cure: delete it"):
        list(read_records(path, Instance))


def test_another_contract_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "rows", Instance, [instance()])
    with pytest.raises(RecordError, match="columns do not match Span"):
        list(read_records(tmp_path / "rows", Span))


def test_a_row_that_breaks_the_contract_is_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [instance().model_dump(mode="json") for _ in range(3)]
    rows[1]["levels"] = ["L9"]
    pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema(Instance)), tmp_path / "rows")
    with pytest.raises(RecordError, match=r"rows:2: field 'levels.0'.*got 'L9'"):
        list(read_records(tmp_path / "rows", Instance))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    write_jsonl(path, [instance()])
    before = path.read_bytes()

    def broken() -> object:
        yield instance(id="2")
        raise ReadError("stop")

    with pytest.raises(ReadError):
        write_records(path, Instance, broken())  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["rows"]


def test_jsonl_faults_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [instance(), instance()])
    assert list(read_jsonl(path, Instance)) == [instance(), instance()]
    with open(path, "ab") as stream:
        stream.write(b'{"id": ')
    with pytest.raises(ReadError, match=r"rows.jsonl:3: is not JSON"):
        list(read_jsonl(path, Instance))
    assert len(list(read_jsonl(path, Instance, torn_tail=True))) == 2


def test_manifest_is_the_sign_of_a_complete_folder(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"holds no manifest.json"):
        read_manifest(tmp_path, "corpus")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("one")
    write_manifest(tmp_path, "corpus", rows=1)
    assert read_manifest(tmp_path, "corpus", verify=True)["rows"] == 1
    with pytest.raises(ReadError, match="expected a 'release'"):
        read_manifest(tmp_path, "release")
    (tmp_path / "data" / "a").write_text("two")
    with pytest.raises(ReadError, match="differs from its manifest"):
        read_manifest(tmp_path, "corpus", verify=True)
    (tmp_path / "data" / "a").unlink()
    with pytest.raises(ReadError, match="listed in the manifest but missing"):
        read_manifest(tmp_path, "corpus")


def test_a_manifest_inside_is_a_file_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "manifest.json").write_text("{}")
    write_manifest(tmp_path, "release")
    (tmp_path / "part" / "manifest.json").write_text("[]")
    with pytest.raises(ReadError, match="differs from its manifest"):
        read_manifest(tmp_path, "release", verify=True)


@pytest.mark.parametrize("text", ["[]", '{"kind": "release"}', '{"kind": "release", "files": []}', "{"])
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ReadError, match=r"manifest\.json: is no"):
        read_manifest(tmp_path, "release")


def test_a_file_given_as_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReadError, match="so it is no finished release"):
        read_manifest(tmp_path / "test.parquet", "release")


def test_atomic_write_keeps_nothing_of_an_interrupted_write(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_write(tmp_path / "x") as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


QUESTION, ANSWER = Message(role="user", content="<image> Which?"), Message(role="assistant", content="L1")
TWINS = [Option(key="A", text="x"), Option(key="B", text="x")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"messages": [Message(role="user", content="no picture"), ANSWER]}, "0 <image>"),
        ({"messages": [QUESTION]}, "last message must be"),
        ({"answer": ""}, "answer is empty"),
        ({"answer_kind": "option", "answer": "C", "options": TWINS[:1]}, "not among the option keys"),
        ({"answer_kind": "option", "answer": "A", "options": TWINS}, "same text"),
        ({"answer_kind": "category", "answer": "crush", "categories": ["wedge"]}, "not among the categories"),
        ({"answer": "L33"}, "neither a vertebra like L3 nor 'not determinable'"),
        ({"answer": "Th7"}, "neither a vertebra like L3"),
        ({"answer_kind": "disc", "answer": "L4-L5"}, "neither a disc like L4/5"),
        ({"answer_kind": "levels", "answer": "L2-T12"}, "neither a range like T12-L2"),
        ({"answer": "L2"}, "the last message says 'T13' and the answer is 'L2'"),
        ({"stage": "revised"}, "needs parent_id"),
        ({"unheard_of": 1}, "Extra inputs are not permitted"),
    ],
)
def test_incoherent_instances_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        instance(**changes)


def test_placeholder_in_untrusted_text_loses_its_meaning() -> None:
    text = escape_placeholder("see <image> and <image>")
    assert "<image>" not in text
    instance(messages=[Message(role="user", content=f"<image> {text}"), Message(role="assistant", content="T13")])


def test_content_hash_ignores_key_order_but_no_value() -> None:
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    assert content_hash({"a": 1}) != content_hash({"a": 1.5})


def test_a_folder_appears_whole_or_what_stood_there_stays(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    with atomic_folder(target) as made:
        (made / "a").write_text("old")

    def interrupted() -> None:
        with atomic_folder(target) as made:
            (made / "a").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in target.parent.iterdir()] == ["folder"]
    assert (target / "a").read_text() == "old"
