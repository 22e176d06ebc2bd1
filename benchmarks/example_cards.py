"""The example card and datasheet of the documentation, taken from a finished quickstart run.

    spinemed quickstart
    python benchmarks/example_cards.py --run runs/quickstart

Convention: `docs/cards/model_card.md` is the run's `MODEL_CARD.md`, `docs/cards/datasheet.md` the `DATASHEET.md` of its
release, word for word under a sentence that says so. The YAML header of the card stands in a code block, so that it is
seen.

Trap: they are one run's figures, of computed phantoms and a few real pictures; other runs have other figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "cards"
CARD_NOTE = (
    "*An example, as `spinemed quickstart` wrote it (`MODEL_CARD.md`). The model is a nano one, trained on computed "
    "phantoms; it proves that the chain works and reads no patient.*\n\n"
)
HEADER = "## The header of the file, which the Hugging Face Hub reads"
SHEET_NOTE = "*An example, as `spinemed quickstart` wrote it beside its release (`DATASHEET.md`).*\n\n"


def card_page(card: str) -> str:
    """A card as a page: its header in a code block at the end."""
    _, header, body = card.split("---\n", 2)
    title, _, rest = body.strip("\n").partition("\n")
    return f"{title}\n\n{CARD_NOTE}{rest.lstrip()}\n\n{HEADER}\n\n```yaml\n{header}```\n"


def sheet_page(sheet: str) -> str:
    """A datasheet as a page."""
    title, _, rest = sheet.partition("\n")
    return f"{title}\n\n{SHEET_NOTE.rstrip()}\n{rest}"


def example_cards(run: Path, folder: Path = FOLDER) -> None:
    """Write both pages.

    Args:
        run: Folder of a finished quickstart.
        folder: Where they go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    card = (run / "MODEL_CARD.md").read_text(encoding="utf-8")
    sheet = (run / "data" / "outputs" / "release" / "DATASHEET.md").read_text(encoding="utf-8")
    (folder / "model_card.md").write_text(card_page(card), encoding="utf-8")
    (folder / "datasheet.md").write_text(sheet_page(sheet), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"))
    example_cards(parser.parse_args().run)
