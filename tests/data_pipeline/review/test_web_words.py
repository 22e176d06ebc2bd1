"""Words on the page: differences, ties to sources, the turns of an item, both languages, vendored files."""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.review.web.linking import marked, sentences, tie
from data_pipeline.review.web.rendering import HOME, PARTS, Pages
from data_pipeline.review.web.screen import edit_from, fields_of, split_turn, whole_turn
from data_pipeline.review.web.worddiff import tokens, word_diff
from data_pipeline.review.web.wording import read_catalogues
from spinemed.errors import ConfigError

TEXTS = st.lists(st.sampled_from(["L3 ", "L4/5", "wedge ", "楔", "形", ", ", "\n", "left "]), max_size=30).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS)
def test_a_difference_holds_both_texts_whole(old: str, new: str) -> None:
    pieces = word_diff(old, new).pieces
    assert "".join(piece.text for piece in pieces if piece.kind != "gone") == new
    assert "".join(piece.text for piece in pieces if piece.kind != "new") == old


def test_a_changed_level_is_one_word() -> None:
    pieces = word_diff("Wedge fracture of L3, left.", "Wedge fracture of L4, left.").pieces
    assert [(piece.kind, piece.text) for piece in pieces] == [
        ("same", "Wedge fracture of "), ("gone", "L3"), ("new", "L4"), ("same", ", left."),
    ]  # fmt: skip


def test_chinese_differs_by_the_character() -> None:
    pieces = word_diff("左侧椎间盘突出", "右侧椎间盘突出").pieces
    assert [piece.text for piece in pieces] == ["左", "右", "侧椎间盘突出"]


def test_texts_made_to_be_slow_are_not() -> None:
    began = time.perf_counter()
    shown = word_diff("a b " * 9000, "b c " * 9000)
    assert shown.coarse
    assert time.perf_counter() - began < 5


def test_tokens_lose_nothing() -> None:
    for text in ("a\u00a0b\tc", "é e\u0301", "½ ° µm", "_under_", "\U0001f9b4 bone"):
        assert "".join(tokens(text)) == text


def test_sentences_keep_levels_and_decimals_together() -> None:
    text = "The angle is 12.5 degrees at L4/5. It is stable. 不需要手术。随访。"
    assert [piece.strip() for piece in sentences(text)] == [
        "The angle is 12.5 degrees at L4/5.", "It is stable.", "不需要手术。", "随访。",
    ]  # fmt: skip
    assert "".join(sentences(text)) == text


def test_a_sentence_is_tied_to_what_it_quotes_else_to_the_nearest() -> None:
    sources = ("Disc herniation at L4/5 may press on the L5 root.", "Bones heal in about three months.")
    found = tie("Herniation at L4/5 may press on a root. Healing of bones takes three months. Call a plumber.", sources)
    assert [(one.ties, one.how) for one in found] == [((0,), "quoted"), ((1,), "shared"), ((), "none")]


def test_quotes_are_marked_in_their_paragraph_and_overlaps_joined() -> None:
    text = "One two three four five."
    marks = marked(text, ["two three", "three four", "absent"])
    assert [mark.text for mark in marks if mark.lit] == ["two three four"]
    assert "".join(mark.text for mark in marks) == text


def test_a_user_turn_is_cut_and_put_together_byte_for_byte() -> None:
    options = [{"key": "A", "text": "L3"}, {"key": "B", "text": "L4"}]
    content = "<image>\n<image>\nWhich level?\nLook twice.\nA. L3\nB. L4"
    part = split_turn(content, options)
    assert part.stem == "Which level?\nLook twice."
    assert whole_turn(part, part.stem) == content
    assert whole_turn(part, "Which?") == "<image>\n<image>\nWhich?\nA. L3\nB. L4"


def test_only_what_changed_is_sent_on_and_line_ends_of_browsers_are_none() -> None:
    shown = {
        "messages": [{"role": "user", "content": "One\nline?\nA. x\nB. y"}, {"role": "assistant", "content": "A"}],
        "options": [{"key": "A", "text": "x"}, {"key": "B", "text": "y"}], "answer": "A", "levels": ["L4"], "tags": [],
    }  # fmt: skip
    fields = fields_of(shown) | {"turn_0": "One\r\nline?", "levels": "L4", "unknown": "ignored"}
    untouched = edit_from(fields, shown)
    assert untouched.model_dump(exclude_defaults=True) == {}
    edited = edit_from(fields | {"turn_0": "Two?", "levels": "L4, L5", "side": "left"}, shown)
    assert edited.messages == {0: "Two?\nA. x\nB. y"}
    assert edited.levels == ("L4", "L5")
    assert edited.side == "left"


def test_a_catalogue_that_lacks_a_text_stops_the_server(tmp_path: Path) -> None:
    (tmp_path / "en.yaml").write_text("a:\n  b: one\n  c: two\n")
    (tmp_path / "zh.yaml").write_text("a:\n  b: 一\n")
    with pytest.raises(ConfigError, match=r"a\.c.*zh"):
        read_catalogues([tmp_path])


def test_every_key_of_a_template_stands_in_the_catalogues() -> None:
    words = Pages().wordings["zh"].words
    folders = [HOME / "templates", *(HOME.parent / part / "templates" for part in PARTS)]
    used = {
        (file.name, key)
        for folder in folders
        for file in folder.rglob("*.html")
        for key in re.findall(r"\bt\('([a-z_]+(?:\.[a-z_]+)+)'[,)]", file.read_text())
    }
    assert len(used) > 80
    assert [one for one in sorted(used) if one[1] not in words] == []


def test_templates_hold_no_inline_script_style_or_foreign_address() -> None:
    for part in ("web", *PARTS):
        for file in (HOME.parent / part / "templates").rglob("*.html"):
            text = file.read_text()
            assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=\"|javascript:|<style", text), file
            assert not re.search(r"(src|href|action)=\"(https?:)?//", text), file


def test_vendored_files_are_the_published_ones() -> None:
    folders = [HOME / "static" / "vendor", *(HOME.parent / part / "static" / "vendor" for part in PARTS)]
    checked = 0
    for folder in folders:
        if not folder.is_dir():
            continue
        table = dict(re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})` \|$", (folder / "VENDOR.md").read_text(), re.M))
        for file in folder.iterdir():
            if file.suffix in (".js", ".mjs", ".wasm"):
                assert hashlib.sha256(file.read_bytes()).hexdigest() == table[file.name], file
                checked += 1
        assert any("licen" in file.name.lower() for file in folder.iterdir())
    assert checked >= 1
