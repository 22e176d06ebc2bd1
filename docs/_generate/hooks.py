"""What is made while the site is built: README pages taken in, references of records, configs, commands and the API.

Convention: mkdocs calls the functions below by their names. Nothing is written into the checkout; every made page lives
in memory only. In `mkdocs.yml` an entry of the navigation that says `made:NAME` stands for a list that is made here.

Trap: links of taken-in pages are rewritten (`links.py`) before mkdocs checks them, so the strict build covers them too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Helper modules lie beside this file, records and config classes in the checkout. mkdocs runs this file more than once
# in one process when it serves, so a place is added once.
for _place in (str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])):
    if _place not in sys.path:
        sys.path.insert(0, _place)

from api import api_modules, api_pages  # noqa: E402
from commands import command_pages  # noqa: E402
from configuration import JOBS, config_links, config_pages, config_places  # noqa: E402
from formats import expand, record_places, schemas  # noqa: E402
from links import PACKAGES, ROOT, Links, taken_in  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402

_made: dict[str, Any] = {}


def on_config(config: Any) -> Any:
    """Make the pages and complete the navigation."""
    configs = config_places()
    made = {**command_pages(), **config_pages(configs), **api_pages()}
    own = {f"docs/{p.relative_to(ROOT / 'docs').as_posix()}": p.relative_to(ROOT / "docs").as_posix()
           for p in sorted((ROOT / "docs").rglob("*.md")) if "_generate" not in p.parts}  # fmt: skip
    outside = taken_in()
    links = Links(pages={**outside, **own, "README.md": "index.md"}, configs=config_links())
    for old, new in outside.items():
        made[new] = links.rewrite((ROOT / old).read_text(encoding="utf-8"), old, new)
    for old, new in own.items():  # finds the pictures that lie outside docs/
        links.rewrite((ROOT / old).read_text(encoding="utf-8"), old, new)
    _made.update(pages=made, links=links, own={new: old for old, new in own.items()}, records=record_places())
    lists: dict[str, list[Any]] = {
        "commands": sorted(page for page in made if page.startswith("reference/commands/")),
        "configs": ["reference/configs/index.md", *(f"reference/configs/{job.page}.md" for job in JOBS)],
        "api": ["api/index.md", *_by_package([f"api/{name}.md" for name in sorted(api_modules())])],
        "rooms": _by_package(sorted(new for new in outside.values() if new.startswith("rooms/"))),
    }
    index = "reference/commands/index.md"
    lists["commands"] = [index, *(page for page in lists["commands"] if page != index)]
    config.nav = [_filled(entry, lists) for entry in config.nav]
    _place_the_rest(config.nav, [new for new in made if not new.startswith(("rooms/", "reference/", "api/"))])
    return config


def _by_package(pages: list[str]) -> list[dict[str, list[str]]]:
    """Pages in groups, one for each package of the repository."""
    groups: dict[str, list[str]] = {}
    for page in pages:
        groups.setdefault(page.split("/")[1].split(".")[0], []).append(page)
    order = {name: place for place, name in enumerate(PACKAGES)}
    return [
        {name: sorted(groups[name], key=lambda page: page.removesuffix("index.md"))}
        for name in sorted(groups, key=lambda one: order.get(one, len(order)))
    ]


def _filled(entry: Any, lists: dict[str, list[Any]]) -> Any:
    if isinstance(entry, dict):
        return {key: _section(value, lists) for key, value in entry.items()}
    return entry


def _place_the_rest(nav: list[Any], pages: list[str]) -> None:
    """Pages that are taken in and that the navigation does not name: guides to the guides, others to the project."""
    named = str(nav)
    for page in pages:
        if page not in named:
            section = "Guides" if page.startswith("guides/") else "Project"
            next(entry[section] for entry in nav if isinstance(entry, dict) and section in entry).append(page)


def _section(value: Any, lists: dict[str, list[Any]]) -> Any:
    if isinstance(value, str) and value.startswith("made:"):
        return [_named(one) for one in lists[value.removeprefix("made:")]]
    if isinstance(value, list):
        return [_filled(one, lists) for one in value]
    return value


def _named(one: Any) -> Any:
    if isinstance(one, dict):
        return {name: [_named(page) for page in pages] for name, pages in one.items()}
    own = one in ("reference/commands/index.md", "reference/configs/index.md", "api/index.md")
    return one if own else {_title(one): one}


def _title(page: str) -> str:
    if page.startswith("rooms/"):
        inside = page.split("/", 2)[2].removesuffix("index.md").removesuffix(".md").strip("/")
        return inside or "the package"
    if page.startswith("api/"):
        return page.removeprefix("api/").removesuffix(".md")
    for job in JOBS:
        if page == f"reference/configs/{job.page}.md":
            return job.title
    return "spinemed " + Path(page).stem


def on_files(files: Files, config: Any) -> Files:
    """Add what was made, and the pictures that pages ask for."""
    for place, text in _made["pages"].items():
        files.append(File.generated(config, place, content=text))
    for place, text in schemas().items():
        files.append(File.generated(config, place, content=text))
    mark = ROOT / "data_pipeline" / "review" / "web" / "static" / "mark.svg"
    files.append(File.generated(config, "assets/mark.svg", abs_src_path=str(mark)))
    for old, new in _made["links"].pictures.items():
        files.append(File.generated(config, new, abs_src_path=str(ROOT / old)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Hand-written pages: tables for their macros, links of the repository turned into links of the site."""
    here = page.file.src_uri
    written_at = _made["own"].get(here)
    if written_at is None:
        return markdown
    return _made["links"].rewrite(expand(markdown, here, _made["records"]), written_at, here)
