"""What a benchmark asks is found in what would be trained on: words, pictures, sources; shared wording is no hit."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.unique.decontaminate import (
    OVERLAP_FILE,
    OverlapConfig,
    OverlapRow,
    Picture,
    Text,
    benchmark_sha256,
    find_overlap,
    open_benchmarks,
)
from spinemed.errors import ReadError
from spinemed.overlap import HeldOut, HeldOutItem
from spinemed.records import Message, Option, PackedImage, ReleaseRow, Sample
from spinemed.tables import read_records, write_bytes, write_jsonl, write_manifest, write_records

PASSAGE = (
    "a wedge deformity of the first lumbar body with a height loss of forty percent and an intact posterior wall "
    "was treated by a brace for twelve weeks"
)
CHINESE = "第一腰椎椎体呈楔形改变高度丢失约百分之四十后壁完整给予支具固定十二周"


def picture(seed: int) -> bytes:
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (9, 9), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize((96, 96), Image.Resampling.BICUBIC).save(stream, "png")
    return stream.getvalue()


def sample(name: str, question: str, pictures: tuple[str, ...] = (), answer: str = "A") -> Sample:
    return Sample(
        id=name, axis="pathology", task="multiple_choice",
        messages=(Message(role="user", content="<image>\n" * len(pictures) + question),),
        images=pictures, answer=answer, answer_kind="option",
        options=tuple(Option(key=key, text=f"choice {key}") for key in "ABC"), cluster=f"patient of {name}",
        origin="real", source_id="s",
    )  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A samples folder: a passage in each language, a short question, a question on a picture."""
    folder = tmp_path / "spinebench"
    data = picture(1)
    path = f"images/{hashlib.sha256(data).hexdigest()}.png"
    write_bytes(folder / path, data)
    samples = [
        sample("words", f"Which injury is this: {PASSAGE}?"),
        sample("chinese", f"患者男性{CHINESE}诊断为何"),
        sample("short", "Which vertebra lies below T12?"),
        sample("picture", "Which vertebra is marked?", (path,)),
    ]
    write_jsonl(folder / "samples.jsonl", samples)
    write_manifest(folder, "samples")
    return folder


def rows(folder: Path) -> list[tuple[str, str, str]]:
    return [(row.id, row.reason, row.held_out) for row in read_records(folder / OVERLAP_FILE, OverlapRow)]


def test_words_pictures_and_sources_of_a_benchmark_are_found(tmp_path: Path, bench: Path) -> None:
    near = Image.open(io.BytesIO(picture(1)))
    stream = io.BytesIO()
    near.save(stream, "jpeg", quality=70)
    texts = [
        Text("a", f"Once more: {PASSAGE.upper().replace(' ', '  ')}."),
        Text("b", f"影像报告：{CHINESE[3:20]}，余无异常"),
        Text("c", "Which vertebra lies below T12 ?"),
        Text("d", "Which vertebra is marked?", pictures=1),
        Text("e", "Something else entirely.", sources=("doc-1", "patient of words")),
        Text("f", " ".join(PASSAGE.split()[:12]) + " and nothing more of it"),
    ]
    pictures = [Picture("same", picture(1)), Picture("similar", stream.getvalue()), Picture("other", picture(2))]
    counts = find_overlap(tmp_path, [bench], texts, pictures)
    assert rows(tmp_path) == [
        ("a", "same words", "spinebench/words"),
        ("b", "same words", "spinebench/chinese"),
        ("c", "same text", "spinebench/short"),
        ("e", "same source", "spinebench/words"),
        ("same", "same picture", "spinebench/picture"),
        ("similar", "similar picture", "spinebench/picture"),
    ]
    assert counts == {
        "held_out": 4, "common_runs": 0, "texts": 6, "pictures": 3, "items_hit": 4, "pictures_hit": 2,
        "reasons": {
            "same words": 2, "same text": 1, "same source": 1, "same picture": 1, "similar picture": 1,
        },
    }  # fmt: skip


def test_share_and_the_length_of_a_run_are_as_stated(tmp_path: Path) -> None:
    held = HeldOut(gram=5)
    held.add("b", [HeldOutItem("q", "one two three four five six seven eight")])
    find_overlap(
        tmp_path, held, [Text("x", "zero one two three four five six nine"), Text("y", "five six seven eight")]
    )
    (row,) = read_records(tmp_path / OVERLAP_FILE, OverlapRow)
    assert (row.id, row.shared, row.share) == ("x", 2, 0.5)


def test_the_wording_of_a_template_is_nobodys_content(tmp_path: Path) -> None:
    wording = "Which of the following vertebral bodies is marked by the ring in this sagittal picture of a spine"
    held = HeldOut()
    held.add("b", [HeldOutItem(str(n), f"{wording}? Case {n}") for n in range(9)])
    assert find_overlap(tmp_path, held, [Text("x", f"{wording}? Another")])["items_hit"] == 1
    held.add("b", [HeldOutItem("9", f"{wording}? Case 9")])
    counts = find_overlap(tmp_path, held, [Text("x", f"{wording}? Another")])
    assert (counts["items_hit"], counts["common_runs"] > 0) == (0, True)
    named = HeldOut(ignore=(f"{wording}?",))
    named.add("b", [HeldOutItem("0", f"{wording}? Case")])
    assert find_overlap(tmp_path, named, [Text("x", f"{wording}? Another")])["items_hit"] == 0


def test_a_releases_test_split_is_a_benchmark(tmp_path: Path) -> None:
    data = picture(3)
    row = ReleaseRow(
        id="r", split="test",
        messages=(Message(role="user", content=f"<image>\n{PASSAGE}?"), Message(role="assistant", content="A")),
        images=(PackedImage(bytes=data, path=f"{hashlib.sha256(data).hexdigest()}.png"),),
        axis="pathology", task="multiple_choice", language="en", answer="A", answer_kind="option",
        options=tuple(Option(key=key, text=f"choice {key}") for key in "ABC"), categories=(), levels=(), origin="real",
        source_id="s", group_id="patient 7", licence="CC0-1.0", attribution="", evidence_ids=("span-7",),
        instance_sha256="0" * 64, tags=(),
    )  # fmt: skip
    folder = tmp_path / "release"
    write_records(folder / "data" / "test.parquet", ReleaseRow, [row])
    write_manifest(folder, "release")
    texts = [
        Text("a", PASSAGE, pictures=1),
        Text("b", "x", ("span-7",)),
        Text("c", "y", ("patient 7",)),
        Text("d", "z"),
    ]
    find_overlap(tmp_path, [folder], texts, [Picture("p", data)])
    assert rows(tmp_path) == [
        ("a", "same words", "release/r"), ("b", "same source", "release/r"), ("c", "same source", "release/r"),
        ("p", "same picture", "release/r"),
    ]  # fmt: skip


def test_batches_change_nothing(tmp_path: Path, bench: Path) -> None:
    texts = [Text(str(n), f"{n} {PASSAGE}" if n % 700 == 0 else f"nothing of it {n}") for n in range(2500)]
    counts = find_overlap(tmp_path, [bench], iter(texts))
    assert [name for name, _, _ in rows(tmp_path)] == ["0", "700", "1400", "2100"]
    assert counts["texts"] == 2500


def test_what_is_no_benchmark_is_refused(tmp_path: Path, bench: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="is no benchmark"):
        open_benchmarks([tmp_path / "empty"])
    with pytest.raises(ReadError, match="same name"):
        open_benchmarks([bench, bench])
    before = benchmark_sha256(bench)
    write_bytes(bench / "new.txt", b"x")
    write_manifest(bench, "samples")
    assert benchmark_sha256(bench) != before
    assert open_benchmarks([], OverlapConfig(gram=7)).texts(["anything"]) == [None]


def test_no_run_goes_over_the_end_of_a_line(tmp_path: Path) -> None:
    """One template and one distractor behind another passage are no shared content."""
    rest = "Which condition does this passage describe? Answer with the letter.\nA. Scoliosis of the spine\nB. Stenosis"
    held = HeldOut()
    held.add("b", [HeldOutItem("q", f"{PASSAGE}\n{rest}"), HeldOutItem("s", f"Short.\n{rest}")])
    texts = [Text("x", f"Another passage altogether\n{rest}"), Text("y", f"short!\n{rest}")]
    find_overlap(tmp_path, held, texts)
    assert rows(tmp_path) == [("y", "same text", "b/s")]
