"""The drawings of the documentation: the life of an instance, a run folder, and the levels of a spine.

    python benchmarks/pictures_docs.py        # writes docs/pictures/*.svg

Convention: plain SVG with the reader's own fonts, on a white ground, so that a drawing reads alike in light and dark.
Levels and their VerSe labels are read from `spinemed.anatomy`, not typed. The trap: a font may be wider than the one
that the widths below were chosen with; boxes have room for a fifth more.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from spinemed.anatomy import LABEL_MAPS, LEVELS, Level, Region

OUT = Path(__file__).resolve().parents[1] / "docs" / "pictures"
INK, FAINT, RULE = "#1a2228", "#5d6b76", "#c3cbd1"
ROOMS = {"data": "#e7f0f7", "people": "#fdf0dc", "train": "#e9f4ea", "bench": "#f6e9ee"}
EDGE = {"data": "#7fa8c6", "people": "#d8a955", "train": "#86b78b", "bench": "#c98ba3"}
REGIONS = {
    Region.CERVICAL: "#8fb8d8",
    Region.THORACIC: "#a9cfa6",
    Region.LUMBAR: "#f0c27b",
    Region.SACRAL: "#d9a3b5",
    Region.COCCYGEAL: "#cfd6dc",
}
SAID = "What goes from step to step is a file with a schema. Every step says what it kept, what it dropped and why."
ODD = "Dashed: not in every spine. A spine may also lack T12, or L5 as a free vertebra."
FONT = 'font-family="system-ui, Segoe UI, Noto Sans, DejaVu Sans, sans-serif"'
MONO = 'font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace"'


def text(x: float, y: float, words: str, size: float = 13, more: str = "", font: str = FONT) -> str:
    """One line of text."""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" {font} fill="{INK}" {more}>{escape(words)}</text>'


def page(width: float, height: float, title: str, parts: list[str]) -> str:
    """A whole drawing."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">\n'
        f"<title>{escape(title)}</title>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0 8 4 0 8z" fill="{FAINT}"/></marker></defs>\n'
        f'<rect width="{width:g}" height="{height:g}" rx="10" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def arrow(points: list[tuple[float, float]], more: str = "") -> str:
    """A line through points with a tip at its end."""
    way = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{way}" fill="none" stroke="{FAINT}" stroke-width="1.6" marker-end="url(#tip)" {more}/>'


def box(x: float, y: float, width: float, room: str, head: str, lines: list[str]) -> str:
    """A box with a name and what it says."""
    parts = [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="78" rx="7" fill="{ROOMS[room]}" stroke="{EDGE[room]}"/>',
        text(x + 12, y + 24, head, 15, 'font-weight="600"'),
    ]
    parts += [text(x + 12, y + 44 + 18 * place, line, 12) for place, line in enumerate(lines)]
    return "\n".join(parts)


def life() -> str:
    """From a source to a score."""
    rows: list[tuple[str, list[tuple[str, str, list[str]]]]] = [
        ("spinemed data", [
            ("data", "source", ["a file, its licence,", "where it may be sent"]),
            ("data", "corpus", ["texts, figures, pictures,", "each with its place"]),
            ("data", "draft", ["question, answer,", "evidence by id"]),
            ("data", "verify", ["every written criterion", "applied and counted"]),
        ]),
        ("spinemed data, spinemed review", [
            ("data", "revise", ["mended, or dropped", "with the reason"]),
            ("people", "review", ["two clinicians, blinded;", "an adjudicator"]),
            ("data", "release", ["splits by component;", "row back to bytes"]),
            ("train", "train", ["loss on answers only;", "resumes to the byte"]),
        ]),
        ("spinemed train, spinemed bench", [
            ("bench", "sample", ["held-out question,", "complete in itself"]),
            ("bench", "prediction", ["the reply, verbatim;", "prompt and model hashed"]),
            ("bench", "score", ["read, judged by level;", "no model needed"]),
            ("bench", "board", ["intervals by spine,", "controls beside"]),
        ]),
    ]  # fmt: skip
    width, step, left = 196.0, 236.0, 30.0
    parts = []
    for number, (command, boxes) in enumerate(rows):
        y = 46.0 + number * 142
        parts.append(text(left + (width / 2 + 14 if number else 0), y - 14, command, 12, f'style="fill:{FAINT}"', MONO))
        for place, (room, head, lines) in enumerate(boxes):
            x = left + place * step
            parts.append(box(x, y, width, room, head, lines))
            if place < 3:
                parts.append(arrow([(x + width + 4, y + 39), (x + step - 3, y + 39)]))
        if number < 2:
            last = left + 3 * step + width / 2
            turn, first = y + 104, left + width / 2
            parts.append(arrow([(last, y + 80), (last, turn), (first, turn), (first, y + 139)]))
    parts.append(
        text(
            left,
            450,
            SAID,
            12.5,
        )
    )
    return page(964, 470, "The life of an instance, from a source to a score", parts)


def run_folder() -> str:
    """What lies in a run folder, and what it is for."""
    rows = [
        (0, "RUN/", "one folder for one job", "data"),
        (1, "config.yaml", "the config as resolved; another one is refused", "data"),
        (1, "run.json", "command, versions, commit, platform, hash of the config", "data"),
        (1, "journal.jsonl", "what happened and when; only ever appended to", "people"),
        (1, ".lock", "held while a process works here; free again when it dies", "people"),
        (1, "outputs/", "what was made; equal inputs give equal bytes, no clock times", "train"),
        (2, "STEP/", "appears whole, or not at all", "train"),
        (3, "...", "Parquet, JSON Lines, weights, pages", "train"),
        (3, "manifest.json", "hashes; written last, so its presence means complete", "train"),
        (1, "scratch/", "shards, request logs, checkpoints: kept between resumes", "bench"),
    ]
    parts = []
    for number, (depth, name, says, room) in enumerate(rows):
        y = 24 + number * 36
        x = 24 + depth * 34
        if depth:
            up = next(one for one in range(number - 1, -1, -1) if rows[one][0] == depth - 1)
            parts.append(
                f'<path d="M{x - 18:g} {24 + up * 36 + 28:g}V{y + 14:g}H{x - 3:g}" fill="none" stroke="{RULE}"/>'
            )
        parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="176" height="28" rx="5" fill="{ROOMS[room]}" stroke="{EDGE[room]}"/>'
        )
        parts.append(text(x + 10, y + 19, name, 13, "", MONO))
        parts.append(text(324, y + 19, says, 13))
    return page(800, 24 + len(rows) * 36 + 8, "A run folder", parts)


def levels() -> str:
    """Every level in anatomical order with its region and its VerSe label."""
    verse = LABEL_MAPS["verse"].labels
    columns = [
        [level for level in LEVELS if level.region is Region.CERVICAL],
        [level for level in LEVELS if level.region is Region.THORACIC],
        [level for level in LEVELS if level.region is Region.LUMBAR],
        [level for level in LEVELS if level.region in (Region.SACRAL, Region.COCCYGEAL)],
    ]
    odd = {Level.T13: "extra, with ribs", Level.L6: "extra, no ribs"}
    heads = ["neck", "thorax", "lumbar spine", "sacrum, coccyx"]
    parts = []
    for place, (head, column) in enumerate(zip(heads, columns, strict=True)):
        x = 26.0 + place * 222
        parts.append(text(x, 34, head, 14, 'font-weight="600"'))
        for number, level in enumerate(column):
            y = 48 + number * 27
            dash = ' stroke-dasharray="4 3"' if level in odd else ""
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="66" height="22" rx="4" fill="{REGIONS[level.region]}" '
                f'stroke="{FAINT}"{dash}/>'
            )
            parts.append(text(x + 33, y + 16, level.value, 12.5, 'text-anchor="middle"'))
            note = f"VerSe {verse[level]}" if level in verse else ""
            if level in odd:
                note = f"{note}; {odd[level]}"
            parts.append(text(x + 74, y + 16, note, 10.5, f'style="fill:{FAINT}"'))
    rows = max(len(column) for column in columns)
    parts.append(
        text(
            26,
            48 + rows * 27 + 22,
            ODD,
            12,
        )
    )
    return page(850, 48 + rows * 27 + 40, "Levels in anatomical order with their VerSe labels", parts)


DRAWINGS = {"life.svg": life, "run_folder.svg": run_folder, "levels.svg": levels}

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        (OUT / name).write_text(draw(), encoding="utf-8")
        print(OUT / name)
