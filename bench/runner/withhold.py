"""The blind control: the same question with its picture withheld.

Convention: every picture is replaced by a uniform mid-grey picture of the same width, height and mode, and the text
of the conversation stays as it is. A grey picture rather than none, because leaving the picture out would also change
the prompt: another number of tokens, another layout than the one a model was tuned on, and a lower score for that
reason alone. What is left between the full and the blind score is then the pixels.

Trap: the drawn ring or arrow that says which vertebra is meant lies in the pixels, so it is withheld too.
"""

from __future__ import annotations

import io

from PIL import Image

from spinemed.errors import ReadError

__all__ = ["grey_picture"]

_GREY = 128


def grey_picture(data: bytes) -> bytes:
    """A uniform grey PNG with the size of the given picture.

    Args:
        data: PNG or JPEG bytes.

    Returns:
        PNG bytes; the same for every picture of one size and mode.

    Raises:
        ReadError: The bytes are no picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            size, mode = picture.size, "L" if picture.mode in ("1", "L", "I", "I;16", "F") else "RGB"
    except (OSError, ValueError) as error:
        raise ReadError(f"is no readable picture ({error})", cure="write the samples again") from error
    grey = Image.new(mode, size, _GREY if mode == "L" else (_GREY, _GREY, _GREY))
    stream = io.BytesIO()
    grey.save(stream, format="PNG")
    return stream.getvalue()
