"""Pages from templates: one environment, compiled once, escaping everything.

Convention: a template of the web folder is named plainly (`queue.html`), one of another part by its part
(`viewer/pane.html` lies in `viewer/templates/viewer/`). `t` is the wording in the reader's language.

Trap: undefined names raise instead of printing nothing; a page that shows an empty place would hide missing evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_pipeline.review.web.assets import Assets
from data_pipeline.review.web.wording import LANGUAGES, Wording, read_catalogues

__all__ = ["PARTS", "Entry", "Pages"]

HOME = Path(__file__).resolve().parent
PARTS: tuple[str, ...] = ("viewer", "agreement", "readers", "deid")
"""Other parts of the application; each may bring `templates/`, `static/` and `catalogue/`."""


@dataclass(frozen=True)
class Entry:
    """One link of the menu."""

    address: str
    key: str
    """Of its words in the catalogue."""
    roles: frozenset[str]
    """Who sees the link; the page itself is guarded by its service."""


class Pages:
    """Renders templates for a reader."""

    def __init__(self) -> None:
        parts = [HOME.parent / part for part in PARTS]
        self.assets = Assets([("", HOME / "static"), *((f"{part.name}/", part / "static") for part in parts)])
        self.wordings: dict[str, Wording] = read_catalogues(
            [HOME / "catalogue", *(part / "catalogue" for part in parts if (part / "catalogue" / "en.yaml").is_file())]
        )
        folders = [HOME / "templates", *(part / "templates" for part in parts if (part / "templates").is_dir())]
        self.environment = Environment(
            loader=FileSystemLoader(folders),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=-1,
        )
        self.environment.globals["static"] = self.assets.address
        self.environment.globals["languages"] = LANGUAGES
        for name in self.environment.list_templates(extensions=["html"]):
            self.environment.get_template(name)  # a template that does not compile stops the server, not a reader

    def render(self, template: str, language: str, context: Mapping[str, Any]) -> str:
        """The text of a page. `context` holds `csrf` beside what the template needs."""
        words = self.wordings[language]
        return self.environment.get_template(template).render(
            t=words, language=language, hidden_csrf=partial(_hidden, context.get("csrf", "")), **context
        )


def _hidden(csrf: str) -> Markup:
    return Markup('<input type="hidden" name="csrf_token" value="{}">').format(csrf)
