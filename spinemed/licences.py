"""Licences of everything that an installation of SpineMed pulls, named as SPDX expressions, and what is refused.

Convention: the tree is walked from the requirements of SpineMed and its extras through the metadata of what is
installed; a licence is the package's own expression, else its classifier, else its licence text's first words, else
what `STATED` holds with its source. A choice ("OR") is taken as the freest of its parts, a sum ("AND") as all of them.

Trap: the walk sees this environment alone. Another platform pulls others (CUDA builds of torch bring NVIDIA's own), and
an extra that is not installed is named with the licence stated here and its own requirements unseen.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

from spinemed.errors import ReadError, SourceError

__all__ = ["Package", "licence_of", "licence_table", "packages", "refused", "requirements"]

STATED = {
    "ezc3d": "MIT",  # LICENSE of pyomeca/ezc3d
    "vllm": "Apache-2.0",  # LICENSE of vllm-project/vllm
    "inspect-ai": "MIT",  # LICENSE of UKGovernmentBEIS/inspect_ai
    "mlcroissant": "Apache-2.0",  # LICENSE of mlcommons/croissant
    "pypdfium2": "Apache-2.0 OR BSD-3-Clause",  # its metadata lists both, and PDFium's
    "pycocotools": "BSD-2-Clause",  # "FreeBSD"
    "opensim": "Apache-2.0",
    "tqdm": "MPL-2.0 AND MIT",
    "hjson": "MIT",
    "sniffio": "MIT OR Apache-2.0",
}
"""Where the package says nothing that can be read, or says it in words of its own."""
EXPLAINED = {
    "psycopg": "LGPL-3.0: the PostgreSQL driver of the extra `review`, installed as it is published and imported, "
    "unchanged, only where a database URL names PostgreSQL",
    "psycopg-binary": "LGPL-3.0: the compiled part of psycopg",
    "opencv-python-headless": "Apache-2.0 itself; its wheels carry FFmpeg under the LGPL-2.1, which nothing here calls",
}
"""Weak copyleft that is used, and why it may be."""
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
}
_WORDS = (
    (r"affero|\bagpl", "AGPL-3.0-only"),
    (r"lesser general|\blgpl", "LGPL-3.0-only"),
    (r"general public|\bgpl", "GPL-3.0-only"),
    (r"apache", "Apache-2.0"),
    (r"\bmpl|mozilla", "MPL-2.0"),
    (r"\bisc\b", "ISC"),
    (r"2-clause|freebsd|simplified bsd", "BSD-2-Clause"),
    (r"\bbsd|redistribution and use", "BSD-3-Clause"),
    (r"\bmit\b|permission is hereby granted, free", "MIT"),
    (r"\bpsf|python software", "PSF-2.0"),
    (r"unlicense", "Unlicense"),
    (r"zlib", "Zlib"),
)
_COPYLEFT, _WEAK = re.compile(r"^A?GPL-"), re.compile(r"^LGPL-")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Package:
    """One distribution of the tree.

    Attributes:
        name: Normalised.
        licence: SPDX expression, or `unknown`.
        version: As installed; empty where it is not.
        home: Where it is published.
        extras: Which extras pull it; "base" for what every installation has.
        ranges: What SpineMed itself asks for, where it names it.
    """

    name: str
    licence: str
    version: str
    home: str
    extras: tuple[str, ...]
    ranges: tuple[str, ...] = field(default=())


def normalised(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _checkout() -> Path | None:
    file = Path(__file__).resolve().parent.parent / "pyproject.toml"
    return file if file.is_file() else None


def requirements() -> dict[str, list[str]]:
    """What SpineMed asks for, by extra ("base" for all): of the checkout, else of the installed wheel.

    Raises:
        ReadError: SpineMed is neither a checkout nor installed.
    """
    file = _checkout()
    if file is not None:
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return {"base": project["dependencies"], **project["optional-dependencies"]}
    try:
        told = metadata.requires("spinemed") or []
    except metadata.PackageNotFoundError as error:
        raise ReadError("SpineMed is not installed", file=__file__, cure="pip install -e . in a checkout") from error
    found: dict[str, list[str]] = {"base": []}
    for line in told:
        text, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([^'\"]+)", marker)
        found.setdefault(extra[1] if extra else "base", []).append(text.strip())
    return found


def licence_of(name: str) -> str:
    """The SPDX expression of a distribution; `unknown` where nothing says it."""
    if name in STATED:
        return STATED[name]
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return UNKNOWN
    if expression := _field(about, "License-Expression"):
        return expression
    text = " ".join(_field(about, "License").split())
    named = {_CLASSIFIERS.get(line.rsplit(" :: ", 1)[-1], "") for line in about.get_all("Classifier") or []
             if line.startswith("License ::")} - {""}  # fmt: skip
    if len(named) == 1:
        # "BSD License" does not say which of them.
        return "BSD-2-Clause" if named == {"BSD-3-Clause"} and re.search("2-clause", text, re.I) else named.pop()
    if re.fullmatch(r"[A-Za-z0-9.+-]+-[0-9][A-Za-z0-9.+-]*|MIT|ISC", text) and text != UNKNOWN:
        return text
    return next((spdx for words, spdx in _WORDS if re.search(words, text[:400], re.I)), UNKNOWN)


def _field(about: metadata.PackageMetadata, name: str) -> str:
    return str((about.get_all(name) or [""])[0])


def _home(name: str) -> str:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    links = dict(str(line).split(", ", 1) for line in about.get_all("Project-URL") or [] if ", " in str(line))
    lower = {key.lower(): value for key, value in links.items()}
    for key in ("source", "source code", "repository", "homepage", "home", "github", "documentation"):
        if key in lower:
            return lower[key]
    return _field(about, "Home-page") or next(iter(links.values()), "")


def packages(extras: Iterable[str] | None = None) -> list[Package]:
    """Everything that SpineMed with these extras pulls in this environment, by name.

    Args:
        extras: Of SpineMed; all of them unless given. "base" is always walked.

    Raises:
        ReadError: As :func:`requirements`.
    """
    from packaging.requirements import Requirement

    asked = requirements()
    wanted = ["base", *(extra for extra in (asked if extras is None else extras) if extra != "base")]
    by_extra: dict[str, set[str]] = {}
    ranges: dict[str, set[str]] = {}
    for extra in wanted:
        todo = [(Requirement(line), True) for line in asked.get(extra, [])]
        seen: set[tuple[str, frozenset[str]]] = set()
        while todo:
            one, direct = todo.pop()
            name = normalised(one.name)
            if name == "spinemed":
                todo += [(Requirement(line), True) for inner in one.extras for line in asked.get(inner, [])]
                continue
            if direct:
                ranges.setdefault(name, set()).add(",".join(sorted(map(str, one.specifier))) or "any")
            by_extra.setdefault(name, set()).add(extra)
            key = (name, frozenset(one.extras))
            if key in seen:
                continue
            seen.add(key)
            try:
                inner_lines = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue
            for line in inner_lines:
                other = Requirement(line)
                if other.marker is None or any(other.marker.evaluate({"extra": e}) for e in ("", *one.extras)):
                    todo.append((other, False))
    return [
        Package(name, licence_of(name), _version(name), _home(name), _shown(found), tuple(sorted(ranges.get(name, ()))))
        for name, found in sorted(by_extra.items())
    ]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _shown(extras: set[str]) -> tuple[str, ...]:
    return ("base",) if "base" in extras else tuple(sorted(extras))


def _freest(expression: str) -> list[str]:
    """The licences that bind at least: of each choice the freest, of a sum all; exceptions are kept with theirs."""
    choices = re.split(r"\s+OR\s+", expression.replace("(", " ").replace(")", " ").strip())
    parts = [[part.strip() for part in re.split(r"\s+AND\s+", choice) if part.strip()] for choice in choices]
    return min(parts, key=lambda own: sum(bool(_COPYLEFT.match(p)) * 2 + bool(_WEAK.match(p)) for p in own))


def refused(found: Sequence[Package]) -> list[str]:
    """Why packages may not be used: strong copyleft, weak copyleft without an explanation, or an unknown licence."""
    faults = []
    for one in found:
        for part in _freest(one.licence):
            if _COPYLEFT.match(part) and "exception" not in part.lower():
                faults.append(f"{one.name}: {one.licence} (pulled by {', '.join(one.extras)})")
            elif _WEAK.match(part) and one.name not in EXPLAINED:
                faults.append(f"{one.name}: {one.licence} is not explained (pulled by {', '.join(one.extras)})")
        if one.licence == UNKNOWN:
            faults.append(f"{one.name}: its licence is unknown (pulled by {', '.join(one.extras)})")
    return faults


_HEAD = """# Software of others

What SpineMed uses, written by `python -m spinemed.licences --write`. SpineMed itself is under Apache-2.0 (`LICENSE`);
the data in `samples/` has its own page (`samples/SOURCES.md`). No package under the GPL or AGPL is required by the base
installation or any extra; the LGPL is explained below where it occurs. A test holds this page to `pyproject.toml` and
to what is installed.

Licences come from the packages' own metadata, so they are what their authors state, not legal advice. Known
vulnerabilities are not listed: the list changes daily and cannot be read offline. Ask for it with

    pip install pip-audit
    pip-audit
"""


def licence_table() -> str:
    """`THIRD_PARTY.md`: direct requirements, files carried along, and everything pulled by them.

    Raises:
        SourceError: A requirement that is named here may not be used.
    """
    found = packages()
    direct = [one for one in found if one.ranges]
    faults = refused(direct)
    if faults:
        raise SourceError(
            faults[0], field="pyproject.toml", cure="choose another package, or explain it in licences.py"
        )
    lines = [
        _HEAD,
        "## Required by name\n",
        "| package | versions | licence | needed by | home |",
        "|---|---|---|---|---|",
    ]
    for one in direct:
        asked, pulled = ", ".join(f"`{text}`" for text in one.ranges), ", ".join(one.extras)
        lines.append(f"| {one.name} | {asked} | {one.licence} | {pulled} | {_link(one.home)} |")
    lines += ["\n## Explained\n", *(f"- **{name}**: {why}." for name, why in sorted(EXPLAINED.items()))]
    lines += [
        "\n## Files of others in this repository\n",
        "| file | what | version | licence | sha256 |",
        "|---|---|---|---|---|",
    ]
    lines += vendored()
    others = [one for one in found if not one.ranges]
    lines += [
        "\n## Pulled by these\n",
        f"{len(others)} more where this page was written (Linux, CPU build of torch); other machines pull others.\n",
        "| package | licence | pulled by |",
        "|---|---|---|",
        *(f"| {one.name} | {one.licence} | {', '.join(one.extras)} |" for one in others),
    ]
    return "\n".join(lines) + "\n"


def vendored() -> list[str]:
    """Rows on files of others that are carried along, from the pages beside them."""
    root = Path(__file__).resolve().parent.parent / "data_pipeline" / "review"
    rows = []
    for page in sorted(root.glob("*/static/vendor/VENDOR.md")):
        folder = page.parent.relative_to(root.parent.parent).as_posix()
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith("| `"):
                rows.append(f"| `{folder}/{line[3:]}")
    return rows


def _link(home: str) -> str:
    return f"<{home}>" if home.startswith(("http://", "https://")) else home


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what may not be used (exit code 1) or, with `--write`, write `THIRD_PARTY.md` of the checkout."""
    parser = argparse.ArgumentParser(prog="python -m spinemed.licences", description=main.__doc__)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args(arguments)
    file = _checkout()
    if given.write and file is not None:
        from spinemed.tables import write_text

        write_text(file.with_name("THIRD_PARTY.md"), licence_table())
    found = packages()
    faults = refused(found)
    print("\n".join(faults) if faults else f"{len(found)} packages, none under the GPL or AGPL, none unknown")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
