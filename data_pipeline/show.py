"""The report of a build on the terminal, and a page of sample items to look at.

Convention: a page shows what a row holds (picture, question, options, answer) and what it rests on, one card per item,
spread over axes and sources.

Trap: source text goes into HTML escaped; it is data. The font of the PNG has no Chinese signs, so Chinese items are
shown in HTML alone.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont

from spinemed.errors import ReadError
from spinemed.records import ReleaseRow
from spinemed.tables import read_manifest, write_bytes, write_text

__all__ = ["print_report", "sample_rows", "show_items"]

_CARD = (440, 470)
_PICTURE = 224
_NOTE = "Research use only. Phantoms are computed pictures, not patients."


def print_report(outputs: Path) -> None:
    """Print what was read, drafted, changed, dropped and released."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    corpus, drafts = read_manifest(outputs / "corpus", "corpus"), read_manifest(outputs / "drafts", "drafts")
    revised, release = read_manifest(outputs / "revised", "revised"), read_manifest(outputs / "release", "release")
    table = Table("source", "read: found / kept / dropped / failed", "drafts", "released", title="sources")
    for account in corpus["sources"]:
        name = account["source_id"]
        units = [
            f"{unit} {n['found']}/{n['kept']}/{n['dropped']}/{n['failed']}" for unit, n in account["units"].items()
        ]
        drafted = drafts["counts"].get(name, {}).get("kept", 0)
        table.add_row(name, ", ".join(units), str(drafted), str(release["counts"]["source_id"].get(name, 0)))
    console.print(table)
    table = Table("reason", "number", title="left out")
    for account in corpus["sources"]:
        for outcome, reasons in account["reasons"].items():
            for reason, number in reasons.items():
                table.add_row(f"{account['source_id']}: {reason} ({outcome})", str(number))
    for stage in (drafts, revised):
        for reason, number in stage["drop_reasons"].items():
            table.add_row(f"{stage['kind']}: {reason}", str(number))
    for reason, number in read_manifest(outputs / "unique", "unique")["items"]["dropped"].items():
        table.add_row(f"unique: {reason}", str(number))
    for reason, number in release["left_out"].items():
        table.add_row(f"release: {reason}", str(number))
    console.print(table)
    table = Table("criterion", "drafts judged", "failing", "instances changed", title="criteria")
    counts = [drafts["criteria_applied"], drafts["criteria_failed"], revised["changed_by_criterion"]]
    for name in sorted({name for numbers in counts for name in numbers}):
        table.add_row(name, *(str(numbers.get(name, 0)) for numbers in counts))
    console.print(table)
    table = Table("split / axis / origin", "rows", title=f"release: {release['counts']['total']} rows")
    for name, number in release["counts"]["split_axis_origin"].items():
        table.add_row(name, str(number))
    console.print(table)


def sample_rows(run: Path, number: int, languages: Sequence[str] = ("en", "zh")) -> list[ReleaseRow]:
    """Rows of some languages spread over templates, sources and axes, each in the order of ids.

    Raises:
        ReadError: The run holds no release.
    """
    release = run / "outputs" / "release"
    read_manifest(release, "release")
    waiting: dict[tuple[str, str, str], list[tuple[Path, str]]] = {}
    for file in sorted((release / "data").glob("*.parquet")):
        for row in pq.read_table(file, columns=["id", "axis", "source_id", "task", "language", "tags"]).to_pylist():
            if row["language"] not in languages:
                continue
            kind = (row["tags"][0] if row["tags"] else row["task"], row["source_id"], row["axis"])
            waiting.setdefault(kind, []).append((file, row["id"]))
    used: Counter[str] = Counter()
    chosen: list[tuple[Path, str]] = []
    while waiting and len(chosen) < number:
        # The kind whose template, then source, then axis has been shown least; the commonest of equals.
        kind = min(waiting, key=lambda names: ([used[name] for name in names], -len(waiting[names]), names))
        chosen.append(waiting[kind].pop(0))
        used.update(kind)
        if not waiting[kind]:
            del waiting[kind]
    rows = []
    for file, row_id in chosen:
        rows.append(ReleaseRow.model_validate(pq.read_table(file, filters=[("id", "==", row_id)]).to_pylist()[0]))
    return rows


def show_items(run: Path, out: Path, number: int) -> None:
    """Write a page of sample items as PNG or HTML.

    Raises:
        ReadError: The run holds no release, or the file name ends in something else.
    """
    if out.suffix not in (".png", ".html"):
        raise ReadError("is no .png or .html file", file=out, field="--out", cure="let the name end in .png or .html")
    rows = sample_rows(run, number) if out.suffix == ".html" else sample_rows(run, number, ("en",))
    quotes = _quotes(run, rows)
    if out.suffix == ".html":
        write_text(out, _html(rows, quotes))
        return
    buffer = io.BytesIO()
    _page(rows, quotes).save(buffer, format="PNG")
    write_bytes(out, buffer.getvalue())


def _quotes(run: Path, rows: list[ReleaseRow]) -> dict[str, str]:
    """For each row, the words or the study it rests on."""
    table = pq.read_table(
        run / "outputs" / "revised" / "instances.parquet",
        columns=["id", "evidence", "changes"],
        filters=[("id", "in", [row.id for row in rows])],
    )
    studies = {
        study["id"]: study
        for study in pq.read_table(
            run / "outputs" / "corpus" / "studies.parquet", columns=["id", "group_id", "truth", "provenance"]
        ).to_pylist()
    }
    found: dict[str, str] = {}
    for instance in table.to_pylist():
        texts = []
        for part in instance["evidence"]:
            if part["kind"] == "span":
                quote = part["quote"] if len(part["quote"]) <= 90 else part["quote"][:89] + "…"
                texts.append(f"{part['id']}: “{quote}”")
            elif part["kind"] == "study":
                texts.append(_study_line(studies[part["id"]]))
        if instance["changes"]:
            texts.append("revised: " + "; ".join(instance["changes"]))
        found[instance["id"]] = "\n".join(texts[:3])
    return found


def _study_line(study: dict[str, Any]) -> str:
    facts = json.loads(study["provenance"])
    if facts["reader"] == "phantom":
        return f"{study['group_id']} (computed), truth: {study['truth']}"
    place = facts.get("choice", facts)
    cut = f"{place.get('plane', 'whole')} layer {place.get('layer', place.get('index', ''))}"
    return f"{facts['image']['file']}, {cut}, truth: {study['truth']}"


def _question(row: ReleaseRow) -> str:
    """Everything before the answer: the question, or the turns of a conversation with who speaks."""
    turns = [message for message in row.messages[:-1] if message.role != "system"]
    said = [message.content.replace("<image>", "").strip() for message in turns]
    if len(said) == 1:
        return said[0]
    return "\n".join(f"{'Patient' if turn.role == 'user' else 'Physician'}: {text}" for turn, text in zip(turns, said))


def _right(row: ReleaseRow) -> str:
    option = next((option.text for option in row.options if option.key == row.answer), "")
    return f"{row.answer}. {option}" if option else row.answer


def _page(rows: list[ReleaseRow], quotes: dict[str, str]) -> Image.Image:
    columns = min(3, len(rows))
    lines = (len(rows) + columns - 1) // columns
    page = Image.new("RGB", (columns * _CARD[0], lines * _CARD[1] + 34), "white")
    draw = ImageDraw.Draw(page)
    draw.text((12, 8), f"Sample items of a release. {_NOTE}", fill="#444444", font=_font(15))
    for place, row in enumerate(rows):
        left, top = place % columns * _CARD[0], place // columns * _CARD[1] + 34
        _card(page, draw, row, quotes.get(row.id, ""), left, top)
    return page


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _card(page: Image.Image, draw: ImageDraw.ImageDraw, row: ReleaseRow, quote: str, left: int, top: int) -> None:
    width, height = _CARD
    draw.rectangle((left + 5, top + 5, left + width - 5, top + height - 5), outline="#bbbbbb")
    colour = {"level_identification": "#1f5fa8", "pathology": "#9a3b1f", "surgical_planning": "#2c7a3f"}[row.axis]
    head = f"{row.axis.replace('_', ' ')} · {row.origin} · {row.split}"
    draw.text((left + 14, top + 12), head, fill=colour, font=_font(14))
    y = top + 34
    if row.images:
        with Image.open(io.BytesIO(row.images[0].bytes)) as opened:
            picture = opened.convert("RGB")
        scale = _PICTURE / max(picture.size)
        resized = picture.resize(
            (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC
        )
        page.paste(resized, (left + 14, y))
        y += resized.height + 8
    bottom = top + height - 12
    tail = _wrap(draw, quote, width - 30, 11)[:5]
    limit = bottom - 14 * len(tail) - 28
    for line in _wrap(draw, _question(row), width - 30, 13):
        if y > limit - 16:
            draw.text((left + 14, y), "…", fill="black", font=_font(13))
            break
        draw.text((left + 14, y), line, fill="black", font=_font(13))
        y += 16
    answer = _wrap(draw, f"Answer: {_right(row)}", width - 44, 14)
    shown = answer[0] + (" …" if len(answer) > 1 else "")
    draw.text((left + 14, limit + 4), shown, fill=colour, font=_font(14))
    for number, line in enumerate(tail):
        draw.text((left + 14, limit + 26 + 14 * number), line, fill="#666666", font=_font(11))


def _wrap(draw: ImageDraw.ImageDraw, text: str, width: int, size: int) -> list[str]:
    """Lines of a text that fit a width in pixels."""
    font, lines = _font(size), []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and draw.textlength(longer, font=font) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        lines.append(line)
    return lines


def _html(rows: list[ReleaseRow], quotes: dict[str, str]) -> str:
    cards = []
    for row in rows:
        image = ""
        if row.images:
            data = base64.b64encode(row.images[0].bytes).decode()
            image = f'<img alt="picture of {html.escape(row.id)}" src="data:image/png;base64,{data}">'
        cards.append(
            f'<article class="{row.axis}"><header>{row.axis.replace("_", " ")} · {row.origin} · {row.split}</header>'
            f'{image}<div lang="{row.language}"><pre>{html.escape(_question(row))}</pre>'
            f'<pre class="answer">Answer: {html.escape(_right(row))}</pre></div>'
            f"<footer><code>{html.escape(row.id)}</code><pre>{html.escape(quotes.get(row.id, ''))}</pre></footer>"
            "</article>"
        )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Sample items</title><style>'
        "body{font:15px sans-serif;margin:1rem;display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));"
        "gap:1rem}article{border:1px solid #bbb;padding:.8rem}header{font-weight:bold}img{width:14rem;display:block;"
        "margin:.5rem 0;image-rendering:auto}.answer{font-weight:bold}"
        "pre{white-space:pre-wrap;font:inherit;margin:.3rem 0}footer{color:#555;"
        "font-size:12px}.level_identification header{color:#1f5fa8}.pathology header{color:#9a3b1f}"
        ".surgical_planning header{color:#2c7a3f}h1{grid-column:1/-1;font-size:1.1rem;font-weight:normal}</style>"
        f"<h1>Sample items of a release. {_NOTE}</h1>{''.join(cards)}</html>\n"
    )
