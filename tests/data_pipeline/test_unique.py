"""Every revised item gets one verdict: kept, or left out as a copy; tied to its copies; kept out of training."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.items import Item
from data_pipeline.readers.reading import Drop
from data_pipeline.records import Parts
from data_pipeline.settle import settle, slip_of
from data_pipeline.shards.store import read_item_shard
from data_pipeline.unique.classify import Classes
from data_pipeline.unique.stage import (
    Ask,
    UniqueConfig,
    Verdict,
    read_verdicts,
    text_key,
    unique_key,
    wordings_of,
    write_unique,
)
from spinemed.errors import RecordError
from spinemed.questions import load_templates
from spinemed.records import Evidence, Instance, Message, Option, Sample, Split, Writer
from spinemed.tables import read_jsonl, write_jsonl, write_manifest, write_records

ZERO = "0" * 64
STENOSIS = (
    "The canal is narrow at the fourth lumbar disc, with thick ligaments behind and bulging tissue in front of it"
)


def picture(seed: int, shift: int = 0) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 250, (9, 9), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    Image.fromarray(np.minimum(np.asarray(image), 250) + np.uint8(shift)).save(stream, "png")
    return stream.getvalue()


def item(
    name: str,
    text: str,
    group: str = "g",
    *,
    right: str = "Spinal stenosis",
    images: tuple[bytes, ...] = (),
    source: str = "s",
) -> Item:
    options = tuple(Option(key=key, text=said) for key, said in zip("ABC", (right, "Ewing sarcoma", "Discitis")))
    shown = "\n".join(["<image>"] * len(images) + [text, *(f"{option.key}. {option.text}" for option in options)])
    instance = Instance(
        id=name, stage="revised", parent_id=f"{name}-draft", source_id=source, group_id=group, origin="real",
        axis="pathology", task="multiple_choice",
        messages=(Message(role="user", content=shown), Message(role="assistant", content="A")),
        image_sha256=tuple(hashlib.sha256(data).hexdigest() for data in images), answer="A", answer_kind="option",
        options=options, evidence=(Evidence(kind="span", id=f"span of {name}", sha256=ZERO, quote="q"),),
        writer=Writer(name="w", version="1", prompt_sha256=ZERO, request_sha256=ZERO),
    )  # fmt: skip
    return Item(instance, Parts(instance_id=name, template="exercise", wording=0, values=json.dumps({})))


def run(
    folder: Path, shards: list[list[Item]], pictures: tuple[bytes, ...] = (), config: UniqueConfig | None = None,
    origin_of: dict[str, str] | None = None, pins: dict[str, Split] | None = None,
    ask: Ask | None = None,
) -> tuple[dict[str, Verdict], dict[str, object]]:  # fmt: skip
    def given() -> Iterator[tuple[str, bytes]]:
        return ((hashlib.sha256(data).hexdigest(), data) for data in (*pictures, *pictures))

    folder.mkdir()
    named = [(f"{number:05d}", items) for number, items in enumerate(shards)]
    facts = write_unique(
        folder,
        named,
        given,
        origin_of or {},
        config or UniqueConfig(),
        pins=pins,
        wordings=wordings_of(load_templates()),
        ask=ask,
    )
    verdicts = list(read_verdicts(folder))
    assert [verdict.id for verdict in verdicts] == [each.instance.id for items in shards for each in items]
    assert sorted(path.name for path in folder.iterdir()) == [
        "dropped.jsonl", "duplicate_images.parquet", "duplicates.parquet", "overlap.parquet", "verdicts.parquet",
    ]  # fmt: skip
    dropped = {drop.item: drop.reason for drop in read_jsonl(folder / "dropped.jsonl", Drop)}
    assert dropped == {verdict.id: verdict.reason for verdict in verdicts if verdict.reason}
    return {verdict.id: verdict for verdict in verdicts}, facts


def test_copies_are_left_out_in_their_group_and_tied_across_groups(tmp_path: Path) -> None:
    near = STENOSIS.replace("thick", "thickened")
    shards = [
        [item("a", STENOSIS), item("b", STENOSIS.upper()), item("c", "Something else about the spine altogether")],
        [item("d", near), item("e", STENOSIS, "other group")],
    ]
    found, facts = run(tmp_path / "u", shards)
    assert {name: (verdict.copy_of, verdict.reason) for name, verdict in found.items()} == {
        "a": ("", ""), "b": ("a", "same text as another"), "c": ("", ""), "d": ("a", "near copy of another"),
        "e": ("", ""),
    }  # fmt: skip
    assert {name for name, verdict in found.items() if verdict.ties} == {"a", "b", "d", "e"}
    assert {verdict.ties for verdict in found.values() if verdict.ties} == {("text:a",)}
    assert facts["items"] == {
        "in": 5, "kept": 3, "dropped": {"near copy of another": 1, "same text as another": 1}, "held_out": 0,
    }  # fmt: skip


def test_another_right_answer_or_another_picture_is_another_question(tmp_path: Path) -> None:
    one, other = picture(1), picture(2)
    items = [
        item("a", STENOSIS), item("b", STENOSIS, right="Vertebral fracture"), item("c", STENOSIS, images=(one,)),
        item("d", STENOSIS, images=(other,)),
    ]  # fmt: skip
    found, _ = run(tmp_path / "u", [items], (one, other))
    assert not any(verdict.reason for verdict in found.values())
    assert len({text_key(each.instance).apart for each in items}) == 4


def test_one_picture_in_two_groups_ties_them(tmp_path: Path) -> None:
    one, again, marked = picture(3), picture(3, shift=1), picture(4)
    digest = hashlib.sha256(one).hexdigest()
    shards = [
        [item("a", STENOSIS, "g1", images=(marked,)), item("b", "Another question on a spine", "g2", images=(again,))]
    ]
    found, facts = run(
        tmp_path / "u", shards, (one, again, marked), origin_of={hashlib.sha256(marked).hexdigest(): digest}
    )
    assert found["a"].ties == found["b"].ties != ()
    assert facts["pictures"]["clusters_across_groups"] == 1  # type: ignore[index]


def test_what_a_benchmark_asks_is_kept_out_of_training_and_nothing_is_dropped(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    bench.mkdir()
    asked = item("q", STENOSIS, "patient 9").instance
    write_jsonl(
        bench / "samples.jsonl",
        [
            Sample(
                id="q", axis="pathology", task="multiple_choice", messages=asked.messages[:1], images=(), answer="A",
                answer_kind="option", options=asked.options, cluster="patient 9", origin="real", source_id="s",
            )
        ],
    )  # fmt: skip
    write_manifest(bench, "samples")
    config = UniqueConfig(benchmarks=(bench,))
    shards = [[item("a", f"A case. {STENOSIS}"), item("b", "Unlike it", "patient 9"), item("c", "Unlike it at all")]]
    found, facts = run(tmp_path / "u", shards, config=config)
    assert {name: (verdict.held_out, verdict.held_out_reason) for name, verdict in found.items()} == {
        "a": ("bench/q", "same words"), "b": ("bench/q", "same source"), "c": ("", ""),
    }  # fmt: skip
    assert facts["items"] == {"in": 3, "kept": 3, "dropped": {}, "held_out": 2}
    before = unique_key(config)
    write_manifest(bench, "samples", changed=True)
    assert unique_key(config) != before


def test_a_short_question_with_options_that_a_benchmark_asks_as_it_stands_is_kept_out(tmp_path: Path) -> None:
    """No line has thirteen words, so it is compared whole; its letter must not make it another text."""
    bench = tmp_path / "bench"
    bench.mkdir()
    asked = item("q", "Which is it?", "patient 9").instance
    held = Sample(
        id="q", axis="pathology", task="multiple_choice", messages=asked.messages[:1], images=(), answer="A",
        answer_kind="option", options=asked.options, cluster="patient 9", origin="real", source_id="s",
    )  # fmt: skip
    write_jsonl(bench / "samples.jsonl", [held])
    write_manifest(bench, "samples")
    shards = [[item("a", "Which is it?"), item("b", "Which one is it?", "h")]]
    found, _ = run(tmp_path / "u", shards, config=UniqueConfig(benchmarks=(bench,)))
    assert (found["a"].held_out, found["a"].held_out_reason) == ("bench/q", "same text")
    assert found["b"].held_out == ""


def test_wrong_options_do_not_decide_what_an_item_is_about(tmp_path: Path) -> None:
    found, facts = run(tmp_path / "u", [[item("a", "Which condition is this? See the lumbar spine")]])
    assert found["a"].conditions == ("STENOSIS",)
    assert found["a"].tags == ("condition:STENOSIS", "subfield:SPINE")
    assert facts["classes"] == {"conditions": {"STENOSIS": 1}, "subfields": {"SPINE": 1}}


def test_a_model_files_what_the_rules_leave_and_nothing_else(tmp_path: Path) -> None:
    shown: list[str] = []

    def ask(items: Sequence[tuple[str, Sequence[str], str]]) -> Iterator[tuple[str, Classes, str]]:
        shown.extend(name for name, _, _ in items)
        for name, texts, source in items:
            assert (source, texts[-1]) == ("s", "A kind of hum")
            yield (
                (name, Classes(subfields=("SPINE",), conditions=("TUMOR",)), "")
                if name == "b"
                else (name, Classes(), "nothing fits")
            )

    items = [item("a", "See the lumbar spine"), *(item(name, f"Name {name}", right="A kind of hum") for name in "bc")]
    found, facts = run(tmp_path / "u", [items[:2], items[2:]], ask=ask)
    assert shown == ["b", "c"]
    assert {name: verdict.conditions for name, verdict in found.items()} == {
        "a": ("STENOSIS",),
        "b": ("TUMOR",),
        "c": (),
    }
    assert facts["asked"] == {"filed": 1, "nothing fits": 1}
    assert facts["classes"] == {
        "conditions": {"STENOSIS": 1, "TUMOR": 1, "unclassified": 1},
        "subfields": {"SPINE": 2, "unclassified": 1},
    }


@pytest.mark.parametrize("size", [1, 3, 7])
def test_shards_change_no_verdict(tmp_path: Path, size: int) -> None:
    words = ["canal", "disc", "root", "cord", "facet", "joint", "plate"]
    items = [item(f"{n:02d}", STENOSIS.replace("front", words[n % 7])) for n in range(14)]
    shards = [items[start : start + size] for start in range(0, 14, size)]
    found, _ = run(tmp_path / "u", shards)
    one, _ = run(tmp_path / "one", [items])
    assert found == one
    assert sum(bool(verdict.reason) for verdict in found.values()) >= 7


def test_copies_that_are_pinned_apart_are_left_out_of_training(tmp_path: Path) -> None:
    shards = [
        [item("a", STENOSIS, "g1", source="books"), item("b", STENOSIS, "g2", source="exam")],
        [item("c", STENOSIS, "g3", source="web"), item("d", "Something else about the spine", "g1", source="books")],
    ]
    found, _ = run(tmp_path / "u", shards, pins={"books": "train", "exam": "test"})
    assert {name for name, verdict in found.items() if verdict.reason} == {"a"}
    assert found["a"].reason == "copy of an item that is pinned to test"
    assert found["b"].ties == found["c"].ties == ("text:a",)
    unpinned, _ = run(tmp_path / "v", shards)
    assert not any(verdict.reason for verdict in unpinned.values())


@pytest.mark.parametrize(
    "said", ["All of the above", "Either of the above", "A or C", "以上都是", "上述各项均正确", "都不是", "A和C"]
)
def test_options_that_speak_of_others_by_place_keep_their_places(said: str) -> None:
    draft = item("a-draft", "Which holds?", right=said)
    assert slip_of(item("a", "Which holds?", right=said), draft).fixed


@pytest.mark.parametrize("said", ["A disc above the fracture", "高度丢失50%以上", "第四腰椎"])
def test_options_that_stand_for_themselves_are_free_to_move(said: str) -> None:
    draft = item("a-draft", "Which holds?", right=said)
    assert not slip_of(item("a", "Which holds?", right=said), draft).fixed


def test_two_questions_on_one_passage_are_twins_and_its_level_and_technique_are_none() -> None:
    """Both rest on the same caption, and ask for other things."""
    parts = Parts(instance_id="a", template="caption_technique", wording=0, values=json.dumps({"passage": STENOSIS}))
    one = Item(item("a", "Which technique?").instance, parts)
    other = Item(
        one.instance.model_copy(update={"id": "b", "task": "level", "answer_kind": "level", "answer": "L4"}),
        parts.model_copy(update={"instance_id": "b", "template": "caption_level"}),
    )
    same = Item(item("c", "By what was it taken?").instance, parts.model_copy(update={"instance_id": "c"}))
    assert settle([slip_of(one, one), slip_of(other, other), slip_of(same, same)]).twins == [None, None, "a"]


def test_a_broken_row_of_a_stage_is_named_by_file_line_and_field(tmp_path: Path) -> None:
    items = [item(name, "Which is it?").instance for name in ("a", "b")]
    parts = [Parts(instance_id=name, template="exercise", wording=0, values="{}") for name in ("a", "b")]
    broken = items[1].model_copy(update={"answer": "Z"})  # no such option
    write_records(tmp_path / "instances.parquet", Instance, [items[0], broken])
    write_records(tmp_path / "parts.parquet", Parts, parts)
    with pytest.raises(RecordError) as caught:
        read_item_shard(tmp_path, 0)
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "instances.parquet"), 2)
    assert "run the stage" in str(caught.value.cure)
