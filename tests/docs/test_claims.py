"""Numbers on the pages about limits and about the papers are those of recorded figures, or of the published tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from spinemed.intended import OUT_OF_SCOPE

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/limits.md", "docs/reproducing.md")
NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w])")
FIGURE = re.compile(r"\[`([a-z-]+-\d\d)`\]\(\.\./benchmarks/RESULTS\.md#([a-z-]+)\)")


def rows(page: str) -> list[tuple[list[str], list[str]]]:
    """Heading cells and cells of every row of every table."""
    found, head = [], []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not head:
            head = cells
        elif not set(line) <= set("|- "):
            found.append((head, cells))
    return found


def numbers(text: str) -> set[str]:
    """Numbers as written, thousands without commas and signs without plus."""
    return {number.replace(",", "").lstrip("+") for number in NUMBER.findall(text)}


@pytest.mark.parametrize("page", PAGES)
def test_measured_numbers_are_those_of_the_recorded_figures(page: str) -> None:
    checked = 0
    for head, cells in rows(page):
        if head[-1] != "figure":
            continue
        link = FIGURE.fullmatch(cells[-1])
        assert link, f"{page}: {cells[-1]} names no figure"
        files = sorted((ROOT / "benchmarks" / "figures").glob(f"{link[1]}-*.json"))
        assert files, f"{page}: there is no figure {link[1]}"
        told = [json.loads(file.read_bytes()) for file in files]
        known = numbers(" ".join(f"{one['measured']} {one['note']}" for one in told))
        asked = numbers(cells[-2])
        assert asked, f"{page}: {cells[0]}: no number"
        assert asked <= known, f"{page}: {cells[0]}: {sorted(asked - known)} is not what {link[1]} recorded"
        sections = {re.sub(r"[^a-z0-9]+", "-", one["issue"].lower()).strip("-") for one in told}
        assert link[2] in sections, f"{page}: {link[1]} stands under {sections}"
        checked += len(asked)
    assert checked >= 20, "too few numbers to prove anything"


def test_published_numbers_are_those_that_the_benchmarks_print() -> None:
    """With the mark they carry there: a number that was only remembered stands on no page."""
    tables = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(ROOT.glob("bench/*/published.yaml"))]
    known: dict[str, set[str]] = {}

    def take(node: object, mark: str) -> None:
        if isinstance(node, dict):
            mark = str(node.get("mark", mark))
            for value in node.values():
                take(value, mark)
        elif isinstance(node, list):
            for value in node:
                take(value, mark)
        elif isinstance(node, float):
            known.setdefault(f"{node:g}", set()).add(mark)

    for table in tables:
        take(table, "a")  # a table without marks was read in the source that it names
    found = 0
    for page in PAGES:
        for head, cells in rows(page):
            if head[-1] == "mark":
                assert cells[-1] in known.get(f"{float(cells[-2]):g}", set()), f"{page}: {cells}"
                assert cells[-1] != "b"
                found += 1
    assert found >= 8


@pytest.mark.parametrize("page", PAGES)
def test_numbers_stand_in_tables_only(page: str) -> None:
    """Prose may count (four systems, 87 reports) but states no rate, size or error of its own."""
    text = "\n".join(line for line in (ROOT / page).read_text("utf-8").splitlines() if not line.startswith("|"))
    text = re.sub(r"`[^`]*`|\]\([^)]*\)|arXiv \S+|doi \S+|CC BY-SA 4\.0|Qwen\S+|Human3\.6M", "", text)
    assert re.findall(r"\d+\.\d+|\d+ ?%|\d+ (?:mm|HU|points)\b", text) == []


def test_the_page_names_everything_that_cards_put_out_of_scope() -> None:
    text = (ROOT / PAGES[0]).read_text(encoding="utf-8")
    for point in OUT_OF_SCOPE:
        assert point.split(":")[0].rstrip(".") in text, point


@pytest.mark.parametrize("page", PAGES)
def test_files_and_commands_that_are_named_exist(page: str) -> None:
    import typer

    from spinemed.cli import app

    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"(?:tests|configs|bench|data_pipeline)/[\w/]+\.(?:py|yaml)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    assert missing == []
    group = typer.main.get_command(app)
    for application, verb in re.findall(r"`spinemed ([a-z]+) ([a-z]+)", text):
        command = group.get_command(None, application)  # type: ignore[attr-defined]
        assert verb in command.commands, f"{page}: no command {application} {verb}"
