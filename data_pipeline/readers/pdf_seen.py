"""Which letters of a PDF page a reader sees; white on white, unpainted, clear and covered ones are seen by nobody.

Convention: the page is rendered in grey, and a letter is unseen where its box shows no contrast although PDFium can
paint it: its face is in the file or one of the standard ones, or the file says that it is not to be painted, clear, or
of the colour that is there. An invisible text layer over a scan shows the scan's own letters, so it is seen.

Trap: a letter that PDFium cannot paint for want of its face shows no contrast either. It counts as seen, or documents
in faces that are not on this machine would lose their text.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sight"]

_SCALE = 2.0
"""Pixels per point: a full stop has some."""
_MOST_PIXELS = 40_000_000
_CONTRAST = 16
"""Grey values of 255 within a letter's box below which nothing can be read there."""
_STANDARD = ("helvetica", "arial", "times", "courier", "symbol", "zapfdingbats")
_UNPAINTED = (3, 7)
"""Render modes of text that is not painted: none, and clipping only."""


class Sight:
    """What can be seen on one page.

    Args:
        handle: The open page.
        left: Left edge of the visible page, in points.
        bottom: Its lower edge.
    """

    def __init__(self, handle: Any, left: float, bottom: float) -> None:
        self.handle, self.left, self.bottom = handle, left, bottom
        self._grey: NDArray[np.uint8] | None = None
        self._scale = _SCALE
        self._painted: dict[int, tuple[bool, int]] = {}

    def hides(self, item: Any, face: str, box: tuple[float, float, float, float]) -> bool:
        """Whether nobody sees a letter.

        Args:
            item: Its text object.
            face: The name of its face, lower case.
            box: Left, bottom, right, top in points of the file.
        """
        if not item:
            return False
        grey = self._around(box)
        if grey.size == 0:
            return False  # outside the page: counted by whoever cuts the page
        low, high = int(grey.min()), int(grey.max())
        if high - low >= _CONTRAST:
            return False
        paints, tone = self._object(item, face)
        return paints or tone < 0 or abs(tone - (low + high) // 2) < 2 * _CONTRAST

    def _object(self, item: Any, face: str) -> tuple[bool, int]:
        """Whether PDFium can paint the face of a text object, and its grey value; -1 where it is not to be painted."""
        import pypdfium2.raw as raw  # type: ignore[import-untyped]

        address = ctypes.addressof(item.contents)
        if address not in self._painted:
            red, green, blue, alpha = (ctypes.c_uint(0) for _ in range(4))
            tone = 0
            if raw.FPDFPageObj_GetFillColor(item, red, green, blue, alpha):
                tone = round(0.299 * red.value + 0.587 * green.value + 0.114 * blue.value)
                tone = -1 if alpha.value < _CONTRAST else tone
            if raw.FPDFTextObj_GetTextRenderMode(item) in _UNPAINTED:
                tone = -1
            font = raw.FPDFTextObj_GetFont(item)
            inside = bool(font) and raw.FPDFFont_GetIsEmbedded(font) == 1
            self._painted[address] = (inside or face.startswith(_STANDARD), tone)
        return self._painted[address]

    def _around(self, box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
        """Grey values within a letter's box and half a point around it."""
        if self._grey is None:
            width, height = self.handle.get_size()
            self._scale = min(_SCALE, (_MOST_PIXELS / max(width * height, 1.0)) ** 0.5)
            bitmap = self.handle.render(scale=self._scale, grayscale=True, may_draw_forms=False, draw_annots=False)
            array = bitmap.to_numpy()
            self._grey = np.array(array[..., 0] if array.ndim == 3 else array)
            bitmap.close()
        height_px, width_px = self._grey.shape
        x0, y0 = (box[0] - self.left - 0.5) * self._scale, (box[1] - self.bottom - 0.5) * self._scale
        x1, y1 = (box[2] - self.left + 0.5) * self._scale, (box[3] - self.bottom + 0.5) * self._scale
        left, right = max(0, int(x0)), min(width_px, int(x1) + 1)
        top, low = max(0, height_px - int(y1) - 1), min(height_px, height_px - int(y0))
        return self._grey[top:low, left:right] if right > left and low > top else self._grey[:0, :0]
