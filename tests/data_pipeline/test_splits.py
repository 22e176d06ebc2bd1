"""Connected components never cross splits, whatever ties instances together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.components import assign_splits, components
from spinemed.errors import SourceError
from spinemed.records import Source


def source(name: str, **fields: object) -> Source:
    values = {"id": name, "kind": "phantom", "licence": "MIT", "allowed_use": ("train", "evaluate"), **fields}
    return Source.model_validate({"origin": "phantom", **values})


KEYS = st.lists(st.sampled_from([f"k{n}" for n in range(12)]), min_size=1, max_size=4)
INSTANCES = st.dictionaries(st.integers(0, 40).map(lambda n: f"i{n}"), KEYS, min_size=1, max_size=25)
FRACTIONS = {"train": 0.5, "validation": 0.2, "test": 0.3}


@given(INSTANCES, st.integers(0, 1000))
def test_instances_that_share_a_key_share_a_split(keys_of: dict[str, list[str]], seed: int) -> None:
    found = components(keys_of)
    splits = assign_splits(found, dict.fromkeys(keys_of, source("a")), FRACTIONS, seed)
    split_of_key: dict[str, set[str]] = {}
    for instance, keys in keys_of.items():
        for key in keys:
            split_of_key.setdefault(key, set()).add(splits[found[instance]])
    assert all(len(several) == 1 for several in split_of_key.values())


@given(INSTANCES)
def test_order_of_instances_and_keys_does_not_matter(keys_of: dict[str, list[str]]) -> None:
    turned = {instance: list(reversed(keys)) for instance, keys in reversed(keys_of.items())}
    assert components(keys_of) == components(turned)


def test_chains_are_followed() -> None:
    found = components({"a": ["1", "2"], "b": ["2", "3"], "c": ["3", "4"], "d": ["5"]})
    assert found["a"] == found["b"] == found["c"] != found["d"]


def test_a_new_component_moves_no_other() -> None:
    many = {f"i{n}": [f"k{n}"] for n in range(50)}
    before = assign_splits(components(many), dict.fromkeys(many, source("a")), FRACTIONS, 0)
    more = {**many, "new": ["k-new"]}
    after = assign_splits(components(more), dict.fromkeys(more, source("a")), FRACTIONS, 0)
    assert {name: after[name] for name in before} == before
    assert set(before.values()) == {"train", "validation", "test"}


def test_pins_win_and_contradictions_are_refused() -> None:
    found = components({"a": ["1"], "b": ["1"]})
    one, other = source("one", split="test"), source("two")
    assert set(assign_splits(found, {"a": one, "b": other}, FRACTIONS, 0).values()) == {"test"}
    with pytest.raises(SourceError, match="one to test, two to train"):
        assign_splits(found, {"a": one, "b": source("two", split="train")}, FRACTIONS, 0)


def test_what_may_not_be_trained_on_never_is() -> None:
    many = {f"i{n}": [f"k{n}"] for n in range(30)}
    only_evaluate = source("a", allowed_use=("evaluate",))
    splits = assign_splits(components(many), dict.fromkeys(many, only_evaluate), FRACTIONS, 0)
    assert set(splits.values()) == {"validation", "test"}
    with pytest.raises(SourceError, match="may go into no split"):
        assign_splits({"i": "k"}, {"i": source("b", allowed_use=("redistribute",))}, FRACTIONS, 0)
