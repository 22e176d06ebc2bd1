"""Copies are found as comparing all pairs finds them; what differs in a level, a side or a picture is no copy."""

from __future__ import annotations

import importlib.util
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from data_pipeline.unique.texts import DUPLICATES_FILE, DuplicateConfig, DuplicateRow, TextKey, find_duplicates
from spinemed.errors import RecordError
from spinemed.tables import read_records

SENTENCE = "The sagittal image shows a wedge shaped body below the last rib with an intact posterior wall and clear fat"
CHINESE = "矢状位图像显示末肋下方椎体呈楔形改变后壁完整周围脂肪间隙清晰邻近椎间盘信号正常"


@pytest.fixture(scope="module")
def scale(root: Path) -> Iterator[ModuleType]:
    """`benchmarks/data_scale_items.py`, which no package holds."""
    spec = importlib.util.spec_from_file_location("data_scale_items", root / "benchmarks" / "data_scale_items.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["data_scale_items"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["data_scale_items"]


def rows(folder: Path) -> dict[str, DuplicateRow]:
    return {row.id: row for row in read_records(folder / DUPLICATES_FILE, DuplicateRow)}


def clusters(folder: Path) -> set[frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in rows(folder).values():
        found.setdefault(row.cluster, set()).add(row.id)
    return {frozenset(members) for members in found.values()}


def planted_texts() -> dict[str, str]:
    """Originals of either language, each with copies in which more and more words are others."""
    rng = np.random.default_rng(7)
    words = ["".join(rng.choice(list("abcdefghilmnorstu"), 6)) for _ in range(900)]
    han = [chr(0x4E00 + 7 * n) for n in range(500) if chr(0x4E00 + 7 * n) not in "左右双无未不没非度"]
    texts = {}
    for number in range(60):
        pool, between = (han, "") if number % 3 == 0 else (words, " ")
        said = rng.choice(pool, int(rng.integers(40, 160)))
        texts[f"t{number:03d}-0"] = between.join(said)
        for copy in range(1, 6):
            other = said.copy()
            places = rng.choice(len(said), round(len(said) * rng.uniform(0.005, 0.12)), replace=False)
            other[places] = rng.choice(pool, len(places))
            texts[f"t{number:03d}-{copy}"] = between.join(other)
    return texts


def by_all_pairs(texts: dict[str, str], threshold: float) -> set[frozenset[str]]:
    """The clusters as they follow from the definition: strings, sets and every pair."""
    sets = {}
    for name, text in texts.items():
        chinese = not text.isascii()
        said = list(text) if chinese else text.split()
        size = 4 if chinese else 3
        sets[name] = {tuple(said[n : n + size]) for n in range(len(said) - size + 1)}
    cluster = {name: {name} for name in texts}
    for one, other in itertools.combinations(texts, 2):
        both = len(sets[one] & sets[other])
        if both / len(sets[one] | sets[other]) >= threshold and cluster[one] is not cluster[other]:
            cluster[one] |= cluster[other]
            for name in cluster[other]:
                cluster[name] = cluster[one]
    return {frozenset(members) for members in cluster.values() if len(members) > 1}


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9])
def test_recall_and_precision_against_all_pairs_are_one(tmp_path: Path, threshold: float) -> None:
    texts = planted_texts()
    keys = [TextKey(name, text, "one") for name, text in texts.items()]
    find_duplicates(tmp_path, keys, DuplicateConfig(threshold=threshold))
    truth, found = by_all_pairs(texts, threshold), clusters(tmp_path)
    pairs = [{p for members in s for p in itertools.combinations(sorted(members), 2)} for s in (truth, found)]
    recall, precision = (len(pairs[0] & pairs[1]) / len(some) for some in pairs)
    print(f"threshold {threshold}: {len(texts)} texts, {len(pairs[0])} pairs, recall {recall}, precision {precision}")
    assert len(pairs[0]) > 20
    assert (recall, precision) == (1.0, 1.0)


def test_spacing_case_and_punctuation_hide_no_copy(tmp_path: Path) -> None:
    keys = [
        TextKey("a", SENTENCE, "g"),
        TextKey("b", SENTENCE.upper().replace(" ", "  ") + " ...", "g"),
        TextKey("c", CHINESE, "g"),
        TextKey("d", "，".join(re.findall(".{4}", CHINESE)) + CHINESE[len(CHINESE) // 4 * 4 :] + "。", "g"),
    ]
    counts = find_duplicates(tmp_path, keys)
    assert {(row.id, row.representative, row.kind, row.similarity) for row in rows(tmp_path).values()} == {
        ("a", "a", "first", 1.0), ("b", "a", "exact", 1.0), ("c", "c", "first", 1.0), ("d", "c", "exact", 1.0),
    }  # fmt: skip
    assert (counts["exact"], counts["near"], counts["dropped"]) == (2, 0, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The fracture lies at L3", "The fracture lies at L4"),
        ("The left pedicle is sclerotic", "The right pedicle is sclerotic"),
        ("There is a fracture of the body", "There is no fracture of the body"),
        ("The T score is -3 here", "The T score is 3 here"),
        ("A height loss of < 25 percent", "A height loss of > 25 percent"),
        ("A mild stenosis is seen", "A severe stenosis is seen"),
        ("第3腰椎压缩", "第4腰椎压缩"),
        ("左侧神经根受压", "右侧神经根受压"),
        ("可见骨折线", "未见骨折线"),
        ("轻度狭窄", "重度狭窄"),
    ],
)
def test_what_differs_in_a_level_a_side_a_number_or_a_negation_is_no_copy(tmp_path: Path, one: str, other: str) -> None:
    rest = SENTENCE if one.isascii() else CHINESE * 2
    find_duplicates(tmp_path, [TextKey("a", f"{one}. {rest}", "g"), TextKey("b", f"{other}. {rest}", "g")])
    assert rows(tmp_path) == {}


def test_one_question_about_two_pictures_is_two_questions(tmp_path: Path) -> None:
    find_duplicates(tmp_path, [TextKey(name, SENTENCE, "g", apart=f"picture {name}") for name in "abc"])
    assert rows(tmp_path) == {}


def test_copies_of_other_groups_are_listed_and_stand_for_themselves(tmp_path: Path) -> None:
    near = SENTENCE.replace("clear", "bright")
    keys = [
        TextKey("p1-b", SENTENCE, "patient 1"),
        TextKey("p1-a", near, "patient 1"),
        TextKey("p2-c", SENTENCE, "patient 2"),
        TextKey("p2-d", SENTENCE, "patient 2"),
    ]
    counts = find_duplicates(tmp_path, keys, DuplicateConfig(threshold=0.7))
    found = rows(tmp_path)
    assert {name: row.representative for name, row in found.items()} == {
        "p1-a": "p1-a", "p1-b": "p1-a", "p2-c": "p2-c", "p2-d": "p2-c",
    }  # fmt: skip
    assert all(row.crosses_groups and row.cluster == "p1-a" for row in found.values())
    assert found["p1-b"].kind == "near"
    assert 0.7 <= found["p1-b"].similarity < 1
    assert (counts["clusters"], counts["clusters_across_groups"], counts["dropped"]) == (1, 1, 2)


def test_order_changes_no_byte(tmp_path: Path) -> None:
    keys = [TextKey(name, text, name[:4]) for name, text in planted_texts().items()]
    made = []
    for number, order in enumerate((keys, keys[::-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        find_duplicates(folder, order)
        made.append((folder / DUPLICATES_FILE).read_bytes())
    assert made[0] == made[1]
    assert [path.name for path in (tmp_path / "0").iterdir()] == [DUPLICATES_FILE]


def test_a_template_of_many_copies_is_one_cluster(tmp_path: Path) -> None:
    """More members of a bucket than are compared with each other."""
    words = ["".join(letters) for letters in itertools.product("bdg", "aeiou", "lmnr", "aeiou")]
    keys = [TextKey(f"{n:03d}", f"{SENTENCE} and {SENTENCE.lower()} {words[n]}", "g") for n in range(300)]
    counts = find_duplicates(tmp_path, keys)
    assert counts["crowded"] > 0
    assert (counts["clusters"], counts["near"], counts["dropped"]) == (1, 299, 299)


def test_texts_without_words_are_counted_and_never_copies(tmp_path: Path) -> None:
    counts = find_duplicates(tmp_path, [TextKey("a", "...", "g"), TextKey("b", "...", "g"), TextKey("c", "A", "g")])
    assert (counts["texts"], counts["empty"], rows(tmp_path)) == (3, 2, {})
    assert find_duplicates(tmp_path, [])["texts"] == 0


def test_an_id_that_stands_twice_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="two texts have the id a"):
        find_duplicates(tmp_path, [TextKey("a", "x", "g"), TextKey("a", "y", "g")])
    assert list(tmp_path.iterdir()) == []


def test_what_the_benchmark_plants_is_found_and_nothing_else(tmp_path: Path, scale: ModuleType) -> None:
    plan = scale.ScalePlan(1200, shard_items=400, items_per_document=10, exact_share=0.05, near_share=0.1)
    shards = list(scale.scale_shards(plan))
    assert shards[2] == scale.scale_shard(plan, 2)
    keys = [
        TextKey(i.id, "\n".join([*(m.content for m in i.messages), *(o.text for o in i.options)]), i.group_id)
        for shard in shards
        for i in (item.instance for item in shard.items)
    ]
    planted = [row for shard in shards for row in shard.planted]
    find_duplicates(tmp_path, keys)
    found = rows(tmp_path)
    copies = {row.id: row for row in planted if row.kind != "lookalike"}
    assert len(copies) > 100
    assert all(found[row.id].cluster == found[row.original].cluster for row in copies.values())
    assert set(found) == set(copies) | {row.original for row in copies.values()}
    assert any(found[row.id].crosses_groups for row in copies.values())
