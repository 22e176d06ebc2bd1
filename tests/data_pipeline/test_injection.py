"""A source that speaks to a language model, in every reader's format: it is data on the whole road to the release."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.corpus import read_corpus
from spinemed.records import IMAGE_PLACEHOLDER, ReleaseRow
from spinemed.tables import read_records


@pytest.fixture(scope="module")
def released(
    tmp_path_factory: pytest.TempPathFactory,
    injected: dict[str, dict[str, Any]],
    entries: dict[str, dict[str, Any]],
    write_config: Callable[..., Path],
    run_build: Callable[..., Path],
) -> Path:
    """A build by the rule writer over one hostile source of each kind, beside a phantom source."""
    folder = tmp_path_factory.mktemp("hostile")
    sources = [*injected.values(), entries["phantom"], entries["phantom-test"]]
    return run_build(write_config(folder, sources), folder / "run")


def test_the_corpus_keeps_hostile_words_as_spans_of_their_own_source(released: Path, injected: dict[str, Any]) -> None:
    corpus = read_corpus(released / "outputs" / "corpus")
    held = {
        corpus.documents[span.document_id].source_id
        for span in corpus.spans.values()
        if "Ignore all previous instructions" in span.text
    }
    assert held == {entry["id"] for entry in injected.values()}


def test_released_rows_do_not_obey(released: Path) -> None:
    rows = [
        row
        for file in sorted((released / "outputs" / "release" / "data").glob("*.parquet"))
        for row in read_records(file, ReleaseRow)
    ]
    assert len(rows) >= 6
    for row in rows:
        turns = json.dumps([message.content for message in row.messages])
        assert row.answer != "L9"
        assert "Ignore all previous" not in row.answer
        assert turns.count(IMAGE_PLACEHOLDER) == len(row.images)
        assert "</evidence>" not in row.answer
