"""The example card and datasheet of the documentation are what today's code would write of the same facts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import yaml

from data_pipeline.metadata import Lineage
from data_pipeline.metadata_sheet import datasheet
from train.card import CardFacts, model_card


def test_the_example_card_is_written_again_from_its_own_facts(
    root: Path, load_script: Callable[[Path], ModuleType]
) -> None:
    cards = load_script(root / "benchmarks" / "example_cards.py")
    page = (root / "docs" / "cards" / "model_card.md").read_text(encoding="utf-8")
    header = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    facts = CardFacts.model_validate(header["spinemed"])
    assert facts.stages
    assert facts.releases
    hardware = re.findall(r"^- (?:Machine:|Stage `\w+` ran on).*$", page, re.MULTILINE)
    assert hardware
    rates = page.split("## Known failure rates\n\n")[1].split(f"\n\n{cards.HEADER}")[0].split("\n")
    assert any("not measured" in line or "%" in line for line in rates)
    again = cards.card_page(model_card(facts, rates=rates, hardware=hardware))
    assert again == page, "write it again: python benchmarks/example_cards.py --run runs/quickstart"


def test_the_example_datasheet_has_every_part_of_today(root: Path) -> None:
    page = (root / "docs" / "cards" / "datasheet.md").read_text(encoding="utf-8")
    counts: dict[str, dict[str, int]] = {
        name: {} for name in ("task", "form", "language", "axis", "origin", "source", "truth", "level")
    }
    facts = {"counts": {"total": 0, "split": {}}, "components": 0, "licences": {}, "redistributable": True}
    stage = {"counts": {"drafts": 0, "kept": 0, "dropped": 0}, "drop_reasons": {}}
    account = {
        "corpus": {"sources": []},
        "drafts": {"counts": {}, "drop_reasons": {}, "criteria_applied": {}, "criteria_failed": {}},
        "revised": stage, "unique": {"items": {"in": 0, "dropped": {}, "held_out": 0}}, "left_out": {}, "held": {},
    }  # fmt: skip
    empty = datasheet(Lineage([], {}, {}, {}, {}, counts), facts, account)
    parts = re.findall(r"^(?:## .*|- \*\*[^*]*\*\*|- [^*].*)", empty, re.MULTILINE)
    missing = [part for part in parts if part not in page]
    assert len(parts) > 30
    assert missing == [], "write it again: python benchmarks/example_cards.py --run runs/quickstart"
