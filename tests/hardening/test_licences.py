"""Whose software an installation pulls, and under which licence: the page is whole, and nothing is GPL or AGPL."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spinemed import licences
from spinemed.tables import file_sha256


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "THIRD_PARTY.md").read_text(encoding="utf-8")


def test_the_page_names_every_requirement_with_its_versions_and_licence(page: str) -> None:
    told = [one for one in licences.packages() if one.ranges]
    assert len(told) > 60
    for one in told:
        row = next((line for line in page.splitlines() if line.startswith(f"| {one.name} | ")), "")
        assert row, f"{one.name} is missing: python -m spinemed.licences --write"
        assert all(f"`{text}`" in row for text in one.ranges), f"{one.name}: python -m spinemed.licences --write"
        assert one.licence in row


def test_nothing_that_is_pulled_is_under_the_gpl_or_unknown() -> None:
    found = licences.packages()
    assert {"torch", "fastapi", "anyio"} <= {one.name for one in found}
    assert licences.refused(found) == []


@pytest.mark.parametrize(
    ("licence", "fault"),
    [
        ("GPL-3.0-only", True),
        ("MIT AND AGPL-3.0-or-later", True),
        ("GPL-2.0-only OR MIT", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("LGPL-3.0-only", True),
        ("unknown", True),
        ("Apache-2.0 OR (MIT AND PSF-2.0)", False),
    ],
)
def test_what_is_refused(licence: str, fault: bool) -> None:
    one = licences.Package("somebody", licence, "1", "", ("base",))
    assert bool(licences.refused([one])) is fault


def test_weak_copyleft_is_explained(page: str) -> None:
    used = {one.name for one in licences.packages() if "LGPL" in one.licence}
    assert "psycopg" in used
    assert used <= set(licences.EXPLAINED)
    assert all(name in page for name in used)


def test_files_of_others_are_the_ones_that_the_page_names(page: str, root: Path) -> None:
    rows = re.findall(r"^\| `(data_pipeline/\S+/vendor/\S+)` .*`([0-9a-f]{64})` \|$", page, flags=re.M)
    assert len(rows) == 2
    for name, sha256 in rows:
        assert file_sha256(root / name) == sha256
    carried = {path.relative_to(root).as_posix() for path in root.glob("*/**/static/vendor/*.js")}
    assert carried == {name for name, _ in rows}
