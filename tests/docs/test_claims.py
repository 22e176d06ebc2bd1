"""Numbers on the pages about limits and about the papers are those of recorded figures, or of the published tables.

Times, rates and sizes of memory in any README are those of recorded figures too, unit for unit.
"""

from __future__ import annotations

import json
import re
import subprocess
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


# A number with the unit of a time, a rate, a ratio of speed or a peak of memory, and the unit's one name.
UNITS = {
    r"(?:[\w-]+ )?(?:a|per) second|/s|per s": "per second",
    r"(?:[\w-]+ )?(?:a|per) minute|/min": "per minute",
    r"(?:core-|CPU )?min(?:ute)?s?": "min",
    r"(?:CPU )?(?:ms|milliseconds?)": "ms",
    r"(?:CPU )?(?:s|seconds?)": "s",
    r"h|hours?": "h",
    r"times|×": "times",
    r"(?:GiB|GB)": "GB",
    r"(?:MiB|MB)": "MB",
}
WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "ten": "10", "twenty": "20"}
VALUE = (
    r"(?<![\w.])(?P<about>about |some )?(?:(?P<digits>\d(?:[\d,]*\d)?(?:\.\d+)?)[ -]?"
    r"|(?P<word>one|two|three|four|five|six|ten|twelve|twenty|a few|few|some|several)[ -])"
)
QUANTITY = re.compile(VALUE + "(?:" + "|".join(f"({unit})" for unit in UNITS) + r")(?![\w-])", re.I)
# Whose figures may back a README; the first place that fits. The rest may name any.
GROUPS = {
    "data_pipeline/review/": ("Clinician review",),
    "data_pipeline/": ("Data pipeline",),
    "bench/": ("SpineBench", "VerSe", "Vertebra", "Motion"),
    "spinemed/phantom/": ("Phantom",),
    "spinemed/motion/": ("Motion",),
    "spinemed/vertebra/": ("Vertebra",),
    "spinemed/labelling/": ("VerSe",),
    "train/lifting/": ("Motion",),
    "train/packing/": ("Training",),
    "train/synthesis/": ("Vertebra",),
}
# What is no measurement of ours, by README and the words that hold it, and why.
NOT_MEASURED = {
    ("README.md", "bounds we hold ourselves to are 20 minutes, 10 minutes, 6 GiB and 15 minutes"): "bounds",
    ("README.md", "packages of several GB"): "another project's download",
    ("README.md", "about 2.4 GB land in `.venv`"): "what installing downloads; no speed and no memory",
    ("bench/reports/README.md", "20 × the"): "a formula",
    ("data_pipeline/review/web/README.md", "an hour unused or twelve hours in all"): "a setting",
    ("data_pipeline/review/viewer/README.md", "below 256 MiB"): "a limit that is set",
    ("samples/nano_base/README.md", "18.9 minutes with rendering"): "written into the model by the run that made it",
    ("samples/nano_base/README.md", "4.2 minutes with rendering and measuring"): "as above; a hash holds the file",
    ("samples/nano_base/README.md", "2004 MiB"): "as above",
    ("samples/README.md", "7 MB"): "size of a file",
    ("samples/README.md", "1 MB each"): "size of files",
    (
        "spinemed/tools/README.md",
        "deadline (120 s), memory (16 GiB of addresses), file (512 MiB)",
    ): "limits that are set",
}


def quantities(text: str) -> list[tuple[str, str, str]]:
    """(value as written, with a ~ before an "about", unit, the words) of every time, rate, ratio and size in a text."""
    found = []
    for match in QUANTITY.finditer(text):
        unit = next(name for name, group in zip(UNITS.values(), match.groups()[3:], strict=True) if group)
        value = (match["digits"] or match["word"]).lower()
        found.append(("~" * bool(match["about"]) + value, unit, match[0]))
    return found


def recorded() -> dict[str, dict[str, set[float]]]:
    """Values of the figures by group and unit."""
    known: dict[str, dict[str, set[float]]] = {}
    for file in sorted((ROOT / "benchmarks" / "figures").glob("*.json")):
        one = json.loads(file.read_bytes())
        mine = known.setdefault(one["issue"], {})
        for value, unit, _ in quantities(f"{one['measured']} {one['note']}"):
            value = value.lstrip("~")
            if value[0].isdigit():
                mine.setdefault(unit, set()).add(float(value.replace(",", "")))
        if re.match(r"[\w ]+/s ", one["measured"]):  # "poses/s by the wall clock: two threads 7,404": its unit first
            mine.setdefault("per second", set()).update(map(float, numbers(one["measured"])))
    return known


def of_groups(readme: str, known: dict[str, dict[str, set[float]]]) -> dict[str, set[float]]:
    """Values that may stand in a README: those of its own groups, or all of them on the front page and the like."""
    groups = next((groups for place, groups in GROUPS.items() if readme.startswith(place)), tuple(known))
    units = {unit for group in groups for unit in known[group]}
    return {unit: set().union(*(known[group].get(unit, set()) for group in groups)) for unit in units}


def is_recorded(value: str, unit: str, known: dict[str, set[float]]) -> bool:
    """Whether a figure has this value of this unit, rounded as it is written, within a tenth of an "about"."""
    near = value.startswith("~")
    value = value.lstrip("~")
    written = WORDS.get(value, value).replace(",", "")
    if not written[0].isdigit():
        return False
    step = 10.0 ** -len(written.partition(".")[2])
    if "." not in written and len(written) >= 3:  # 7,400 for 7,404
        step = 10.0 ** (len(written) - len(written.rstrip("0")))
    off = max(step / 2, 0.1 * float(written) * near)
    return any(abs(float(written) - one) <= off for one in known.get(unit, ()))


def unbacked(readme: str, text: str, known: dict[str, set[float]]) -> list[str]:
    """Words of a README that claim what no figure says."""
    text = " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())
    for (place, words), _ in NOT_MEASURED.items():
        if place == readme:
            text = text.replace(words, "")
    return [words for value, unit, words in quantities(text) if not is_recorded(value, unit, known)]


def readmes() -> list[str]:
    said = subprocess.run(["git", "ls-files", "*README.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.split() or sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("[a-z]*/**/README.md"))


def test_times_rates_and_memory_in_readmes_are_recorded_figures() -> None:
    known = recorded()
    wrong = {
        readme: words
        for readme in readmes()
        if (words := unbacked(readme, (ROOT / readme).read_text(encoding="utf-8"), of_groups(readme, known)))
    }
    assert wrong == {}, "no figure says so: measure and record it, or leave it out"


def test_what_is_not_measured_still_stands_there() -> None:
    for readme, words in NOT_MEASURED:
        text = " ".join((ROOT / readme).read_text(encoding="utf-8").split())
        assert words in text, f"{readme} says no more: {words}"
        assert unbacked("", words, {}) or words.startswith("(asked"), f"{words} claims nothing"


def test_an_invented_claim_is_found_and_a_rounded_one_passes() -> None:
    known = {"min": {5.67, 9.6}, "times": {27.0}, "per second": {7404.0}, "ms": {0.4}}
    for invented in ("in 3.2 minutes", "28 times as fast", "7,500 poses a second", "a few minutes", "two GB", "9.5 min",
                     "0.5 ms", "three hours", "about 11 min"):  # fmt: skip
        assert unbacked("x", invented, known), invented
    for true in (
        "5.7 minutes",
        "ten minutes",
        "27 times as fast",
        "7,400 poses a second",
        "0.4 ms",
        "about 10 min",
        "at 2 mm",
    ):
        assert unbacked("x", true, known) == [], true
