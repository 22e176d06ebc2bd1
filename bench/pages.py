"""What the benchmarks' pages share: their template environment, pictures inside the page, and how a p value is put.

Convention: a page is one static HTML file that loads nothing and runs nothing (`templates/base.html.j2`); every value
reaches it through the template's escaping. No clock time and no absolute path, so equal scores give equal bytes.

Trap: `StrictUndefined` makes a forgotten value an error instead of an empty place.
"""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

__all__ = ["inside", "p_text", "page_environment"]


def page_environment(templates: Path) -> Environment:
    """The environment of a benchmark whose own templates lie in a folder; base page and styles are shared."""
    here = Path(__file__).parent
    return Environment(
        loader=FileSystemLoader([templates, here / "templates", here / "board" / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def inside(png: bytes, dpi: int = 150) -> dict[str, Any]:
    """A picture for the page, and the width at which its inches are the screen's (96 pixels each)."""
    pixels = struct.unpack(">I", png[16:20])[0]  # the first field of a PNG's header
    return {"src": f"data:image/png;base64,{base64.b64encode(png).decode()}", "width": round(96 * pixels / dpi)}


def p_text(p: float) -> str:
    """A p value with two significant digits, never as zero."""
    return "< 0.0001" if p < 0.0001 else f"{p:#.2g}" if p < 0.995 else "1.0"
