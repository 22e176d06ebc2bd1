"""Parts of PDF pages as pictures: what a reader of the page sees there, drawn and printed alike.

Convention: a part is rendered at the resolution of its sharpest picture, drawings at 200 dots an inch, and never with a
longer edge than asked. Forms and notes are left out.

Trap: the bytes depend on PDFium's version; `spinemed data trace` says so where another one renders otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_pipeline.readers.pdf_objects import Box
from spinemed.marks import png_bytes

__all__ = ["render_parts"]

_DRAWN_DPI = 200.0
_LEAST_DPI, _MOST_DPI = 96.0, 300.0
_MARGIN_PT = 1.5


def render_parts(path: str, parts: Sequence[tuple[int, Box, float]], edge_px: int) -> list[bytes]:
    """PNG files of parts of a document's pages.

    Args:
        path: The PDF.
        parts: Page from 1, box in points from the visible page's lower left corner, pixels per point of its sharpest
            picture (0 for drawings).
        edge_px: The longest edge allowed.
    """
    import numpy as np
    import pypdfium2 as pdfium  # type: ignore[import-untyped]

    out = []
    document = pdfium.PdfDocument(path)
    try:
        for number, box, density in parts:
            page = document[number - 1]
            width, height = page.get_size()
            left, bottom = max(0.0, box[0] - _MARGIN_PT), max(0.0, box[1] - _MARGIN_PT)
            right, top = min(width, box[2] + _MARGIN_PT), min(height, box[3] + _MARGIN_PT)
            dpi = min(_MOST_DPI, max(_LEAST_DPI, 72 * density)) if density else _DRAWN_DPI
            scale = min(dpi / 72, edge_px / max(right - left, top - bottom))
            bitmap = page.render(
                scale=scale, crop=(left, bottom, width - right, height - top), may_draw_forms=False,
                draw_annots=False, rev_byteorder=True,
            )  # fmt: skip
            array = bitmap.to_numpy()
            out.append(png_bytes(np.ascontiguousarray(array[..., :3])))
            page.close()
    finally:
        document.close()
    return out
