"""The page of one case: one HTML file that loads nothing and runs nothing, from what lies in the run folder.

Convention: a step whose files are absent has no section, and the page says so; flags stand before values, intervals
beside them; everything reaches the page through the template's escaping. Equal folders give equal bytes.

Trap: the page names no file of the user's; it shows hashes, and the names that the chain gave.
"""

from __future__ import annotations

from pathlib import Path

from spinemed import __version__
from spinemed.tables import write_text
from spinemed.workflows.case.page.sections import read_case
from spinemed.workflows.case.places import Places

__all__ = ["write_page"]


def write_page(places: Places) -> Path:
    """Write `report.html` of a run folder.

    Args:
        places: Where everything lies.

    Returns:
        The page's path.

    Raises:
        ReadError: a file of a step that is there cannot be read, or lacks what the step writes.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([Path(__file__).resolve().parent / "templates"]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    found = read_case(places)
    write_text(places.page, environment.get_template("page.html.j2").render(**found, version=__version__))
    return places.page
