"""The documentation site: built strictly once, then crawled for links, pictures, references and printed commands."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import lxml.html
import pytest
import typer

import spinemed.records
from spinemed.cli import app

PACKAGES = ("spinemed", "data_pipeline", "train", "bench")


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, elsewhere."""
    place = tmp_path_factory.mktemp("docs") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(root / "mkdocs.yml"),
         "--site-dir", str(place)],
        cwd=root, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-4000:]
    return place


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Any]:
    """Every built page, parsed."""
    found = {path: lxml.html.parse(str(path)).getroot() for path in sorted(site.rglob("*.html"))}
    assert len(found) > 100
    return found


def asked(page: Any) -> Iterator[tuple[str, str]]:
    """Element and address of everything that a page links to or loads."""
    for element in page.iter("a", "link", "script", "img", "source", "iframe", "object", "video", "audio"):
        for name in ("href", "src", "srcset", "data"):
            value = element.get(name)
            if value:
                yield element.tag, value


def test_no_link_or_picture_is_broken(site: Path, pages: dict[Path, Any]) -> None:
    """By our own crawl of the finished pages: the strict build does not look into raw HTML."""
    anchors = {path: {one.get("id") or one.get("name") for one in page.xpath("//*[@id or @name]")}
               for path, page in pages.items()}  # fmt: skip
    broken, followed = [], 0
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its addresses are absolute, for a server
        for tag, address in asked(page):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            followed += 1
            if not target.is_file():
                broken.append(f"{path.relative_to(site)}: {tag} {address}")
            elif parts.fragment and target in anchors and unquote(parts.fragment) not in anchors[target]:
                broken.append(f"{path.relative_to(site)}: no anchor {address}")
    assert followed > 5000
    assert broken == []


def test_nothing_is_loaded_from_the_network(site: Path, pages: dict[Path, Any]) -> None:
    loaded = [
        f"{path.relative_to(site)}: {tag} {address}"
        for path, page in pages.items()
        for tag, address in asked(page)
        if tag != "a" and re.match(r"(https?:)?//", address)
    ]
    styles = [
        str(path.relative_to(site))
        for path in site.rglob("*.css")
        if re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8"))
    ]
    assert loaded == []
    assert styles == []
    # What the theme's own script fetches from elsewhere when a page asks for a diagram or a repository's stars.
    drawn = [path for path, page in pages.items() if page.xpath("//*[contains(@class, 'mermaid')]")]
    assert drawn == []


def rows(page: Any, anchor: str) -> dict[str, list[str]]:
    """The table under a heading: cells by the first one's text."""
    heading = page.get_element_by_id(anchor)
    table = heading.xpath("following::table[1]")[0]
    return {
        row.xpath("./td")[0].text_content().strip(): [one.text_content().strip() for one in row.xpath("./td")]
        for row in table.xpath(".//tbody/tr")
    }


def test_every_field_of_every_record_has_a_row_with_its_meaning(site: Path, pages: dict[Path, Any]) -> None:
    formats = [page for path, page in pages.items() if path.parent == site / "formats"]
    models = [one for name in spinemed.records.__all__ if isinstance(one := getattr(spinemed.records, name), type)
              and issubclass(one, spinemed.records.Record) and name not in ("Record", "Sparse")]  # fmt: skip
    assert len(models) >= 25
    for model in models:
        anchor = f"{model.__module__}.{model.__qualname__}".lower().replace(".", "-").replace("_", "-")
        holding = [page for page in formats if page.xpath(f"//*[@id='{anchor}']")]
        assert len(holding) == 1, f"{model.__name__} stands on {len(holding)} pages"
        table = rows(holding[0], anchor)
        assert list(table) == list(model.model_fields), model.__name__
        unsaid = [name for name, cells in table.items() if not cells[3]]
        assert unsaid == [], f"{model.__name__}: no meaning of {unsaid}"
        schema = json.loads((site / "schemas" / f"{model.__name__}.json").read_text(encoding="utf-8"))
        assert set(schema["properties"]) == set(model.model_fields)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the running program."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if hasattr(command, "commands"):
            for name in command.list_commands(None):
                yield from walk(command.get_command(None, name), (*words, name))
        else:
            yield words, command

    yield from walk(typer.main.get_command(app), ())


def test_every_command_and_option_stands_in_the_reference(site: Path, pages: dict[Path, Any]) -> None:
    found = list(commands())
    assert len(found) > 70
    for words, command in found:
        page = pages[site / "reference" / "commands" / f"{words[0]}.html"]
        heading = page.get_element_by_id("-".join(("spinemed", *words)))
        parts = []
        for element in heading.itersiblings():
            if element.tag == "h2":
                break
            parts.append(element.text_content())
        text = " ".join(parts)
        for one in command.params:
            if one.param_type_name == "option" and one.name != "help" and not getattr(one, "hidden", False):
                assert one.opts[0] in text, f"spinemed {' '.join(words)}: {one.opts[0]}"


def test_every_config_and_every_shipped_file_stands_in_the_reference(
    root: Path, site: Path, pages: dict[Path, Any], load_script: Callable[[Path], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Classes are found in the sources, so a new job's config cannot be forgotten."""
    monkeypatch.syspath_prepend(str(root / "docs" / "_generate"))
    configs = load_script(root / "docs" / "_generate" / "configuration.py")
    shown = {
        (heading.get("id") or "")
        for path, page in pages.items()
        if path.parent == site / "reference" / "configs"
        for heading in page.xpath("//h2 | //h3")
    }
    loaded = set()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            loaded |= set(re.findall(r"load_config\([^\n]*?,\s*([A-Z]\w+)\b", path.read_text(encoding="utf-8")))
    known = {job.target.partition(":")[2] for job in configs.JOBS} | {
        name.partition(":")[2] for name in configs.INTERNAL
    }
    assert len(loaded) > 12
    assert sorted(loaded - known) == [], "configs that no page describes"
    places = configs.config_modules()
    for job in configs.JOBS:
        package, _, name = job.target.partition(":")
        assert f"{places[package, name]}.{name}".lower().replace(".", "-").replace("_", "-") in shown
    assert sorted(configs.shipped_yaml()) == sorted(name for job in configs.JOBS for name in job.files)


def test_every_public_name_stands_in_the_api(root: Path, site: Path, pages: dict[Path, Any]) -> None:
    checked = 0
    for package in PACKAGES:
        for path in sorted((root / package).rglob("__init__.py")):
            names = [
                ast.literal_eval(node.value)
                for node in ast.parse(path.read_bytes()).body
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
            ]
            module = ".".join(path.relative_to(root).parts[:-1])
            for name in names[0] if names else ():
                page = pages[site / "api" / f"{module}.html"]
                headings = {one.text_content().replace("¶", "").split()[-1] for one in page.xpath("//h2")} | {
                    word for one in page.xpath("//h2") for word in one.text_content().replace("¶", " ").split()
                }
                assert name in headings, f"{module}.{name}"
                checked += 1
    assert checked > 300


def test_every_package_page_and_the_results_are_taken_in(root: Path, site: Path, pages: dict[Path, Any]) -> None:
    for package in PACKAGES:
        for readme in sorted((root / package).rglob("README.md")):
            page = site / "rooms" / readme.relative_to(root).parent / "index.html"
            assert page in pages
            title = readme.read_text(encoding="utf-8").splitlines()[0].lstrip("# ").split(":")[0].replace("`", "")
            assert title.split()[0] in pages[page].text_content()
    assert "## " not in pages[site / "results.html"].xpath("//article")[0].text_content()
    assert len(pages[site / "results.html"].xpath("//table")) >= 8


def test_drawings_are_what_their_script_draws(root: Path, load_script: Callable[[Path], ModuleType]) -> None:
    script = load_script(root / "benchmarks" / "pictures_docs.py")
    assert len(script.DRAWINGS) >= 3
    for name, draw in script.DRAWINGS.items():
        assert (root / "docs" / "pictures" / name).read_text(encoding="utf-8") == draw(), name


def written(root: Path) -> list[Path]:
    """Pages written by hand."""
    found = [page for page in sorted((root / "docs").rglob("*.md")) if "_generate" not in page.parts]
    assert len(found) > 15
    return found


def test_commands_and_options_that_pages_print_exist(root: Path) -> None:
    group: Any = typer.main.get_command(app)
    checked = 0
    for page in written(root):
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"(?:^|[` ])spinemed ([a-z]+(?: [a-z-]+)*[^`\n#|\\]*)", text, re.MULTILINE):
            words = line.split()
            command = group.get_command(None, words[0])
            if command is None:
                continue  # prose
            for word in words[1:]:
                if not hasattr(command, "commands") or not re.fullmatch(r"[a-z]+(-[a-z]+)*", word):
                    break
                assert word in command.commands, f"{page.name}: `spinemed {line}`: no command {word}"
                command = command.commands[word]
            options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
            for word in words:
                if word.startswith("--"):
                    name = word.rstrip(".,;:)").split("=")[0]
                    assert name in options, f"{page.name}: `spinemed {line}`: no option {word}"
                    checked += 1
    assert checked > 40


def test_paths_that_pages_print_exist(root: Path) -> None:
    """Configs and samples that a reader is told to use."""
    for page in written(root):
        for place in re.findall(
            r"(?:^|[ `\"=(])((?:configs|samples)/[\w./-]+)", page.read_text(encoding="utf-8"), re.M
        ):
            assert (root / place.rstrip(".,")).exists(), f"{page.name}: {place}"


def test_numbers_beside_a_link_to_the_results_stand_there(root: Path) -> None:
    """Pages about limits and papers are held more closely, row by row, elsewhere."""
    number = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
    measured = {one.replace(",", "") for one in number.findall((root / "benchmarks" / "RESULTS.md").read_text())}
    checked = 0
    for page in written(root):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for part in re.split(r"\n\n|\n(?=[-|])", text):
            if "RESULTS.md" not in part:
                continue
            said = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "", part))
            numbers = {one.replace(",", "") for one in number.findall(said)}
            assert numbers <= measured, f"{page.name}: {sorted(numbers - measured)} in: {said[:80]}"
            checked += len(numbers)
    assert checked > 40


def test_python_in_pages_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    blocks = [(page, block) for page in written(root)
              for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]  # fmt: skip
    assert len(blocks) >= 5
    for page, block in blocks:
        exec(compile(block, str(page), "exec"), {})


def test_the_search_works_from_a_folder(site: Path, tmp_path: Path) -> None:
    """Opened as a file, a browser starts no worker: the small script that takes its place must answer."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    told = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--virtual-time-budget=20000", "--dump-dom", f"file://{site}/index.html?q=lumbarised"],
        capture_output=True, text=True, timeout=120, check=False,
    ).stdout  # fmt: skip
    page = lxml.html.fromstring(told)
    results = page.xpath("//li[contains(@class, 'md-search-result__item')]")
    assert any("levels.html" in link for one in results for link in one.xpath(".//a/@href"))
