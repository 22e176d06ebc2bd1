"""Which page of the site stands for which file of the repository, and links rewritten to it.

Convention: pages are written with links that work in the repository (relative to the file they stand in), so the same
text reads well on both sides. A link to a taken-in page, a config or a picture becomes a link of the site; a link to
any other file becomes its path as plain text, because the site carries no sources.

Trap: a link to a file that does not exist is kept as it is, so that the strict build fails on it.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("spinemed", "data_pipeline", "train", "bench")
PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")
SINGLE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "THIRD_PARTY.md": "licences.md",
    "benchmarks/RESULTS.md": "results.md",
    "benchmarks/LOG.md": "log.md",
    "benchmarks/motion_levels.md": "motion_levels.md",
    "samples/SOURCES.md": "rooms/samples/SOURCES.md",
    "data_pipeline/docs/figure_walk.md": "rooms/data_pipeline/docs/figure_walk.md",
    "examples/README.md": "guides/walks.md",
}
"""Pages that are taken in one by one; packages' README.md are found."""

_TOKEN = re.compile(
    r"(?P<fence>^(?P<mark>```+|~~~+).*?^(?P=mark)[^\n]*$)"
    r"|(?P<code>(?P<tick>`+)(?!`).*?(?<!`)(?P=tick)(?!`))"
    r"|(?P<link>(?P<bang>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)(?P<title>\s+\"[^\"]*\")?\))",
    re.MULTILINE | re.DOTALL,
)
_ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|#|//)", re.IGNORECASE)


def taken_in() -> dict[str, str]:
    """Markdown files outside `docs/` that become pages: path in the repository to path in the site."""
    found = {old: new for old, new in SINGLE.items() if old != "README.md" and (ROOT / old).is_file()}
    for room in (*PACKAGES, "samples", "configs"):
        for page in sorted((ROOT / room).rglob("README.md")):
            place = page.relative_to(ROOT).as_posix()
            found[place] = "rooms/" + place.removesuffix("README.md") + "index.md"
    return found


@dataclass
class Links:
    """The map of the site, and the pictures that its pages ask for.

    Attributes:
        pages: Repository path of each page's text to its path in the site.
        configs: Repository path of each YAML config to page and anchor.
        pictures: Filled while rewriting: repository path to path in the site.
    """

    pages: dict[str, str]
    configs: dict[str, str]
    pictures: dict[str, str] = field(default_factory=dict)

    def rewrite(self, text: str, written_at: str, shown_at: str) -> str:
        """A page's text with its links as the site needs them.

        Args:
            text: Markdown.
            written_at: The file it stands in, relative to the repository.
            shown_at: Its page, relative to the site's pages.
        """

        def replace(match: re.Match[str]) -> str:
            if match["link"] is None or _ELSEWHERE.match(match["target"]):
                return match[0]
            return self._link(match, written_at, shown_at)

        return _TOKEN.sub(replace, text)

    def _link(self, match: re.Match[str], written_at: str, shown_at: str) -> str:
        bang, words, title = match["bang"], match["text"], match["title"] or ""
        target, _, anchor = match["target"].partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(written_at), target))
        if bang:
            return f"![{words}]({self._relative(self._picture(place, match['target']), shown_at)}{title})"
        words = self.rewrite(words, written_at, shown_at)
        page = self.page_of(place)
        if page is not None:
            page, _, own = page.partition("#")
            anchor = anchor or own
            return f"[{words}]({self._relative(page, shown_at)}{'#' + anchor if anchor else ''}{title})"
        if (ROOT / place).suffix in PICTURES and (ROOT / place).is_file():
            return f"[{words}]({self._relative(self._picture(place, target), shown_at)}{title})"
        if (ROOT / place).exists():
            return words if words.startswith("`") else f"{words} (`{place}`)"
        return match[0]

    def page_of(self, place: str) -> str | None:
        """The page of a file or folder of the repository, with its anchor where it has one."""
        if place in self.pages:
            return self.pages[place]
        if place in self.configs:
            return self.configs[place]
        return self.pages.get(posixpath.join(place, "README.md"))

    def _picture(self, place: str, target: str) -> str:
        if not (ROOT / place).is_file():
            return target  # the strict build names it
        if place.startswith("docs/"):
            return place.removeprefix("docs/")
        return self.pictures.setdefault(place, "files/" + place)

    @staticmethod
    def _relative(page: str, shown_at: str) -> str:
        return posixpath.relpath(page, posixpath.dirname(shown_at) or ".")
