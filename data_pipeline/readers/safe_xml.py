"""Untrusted XML parsed safely: no entities, no network, no DTD, and faults that name file and line.

Trap: lxml's own default parser expands entities; nothing in this package may call `etree.parse` without this parser.
"""

from __future__ import annotations

import os
from typing import Any

from lxml import etree

from spinemed.errors import ReadError

__all__ = ["local_name", "parse_xml", "plain_text"]


def parse_xml(data: bytes, file: str | os.PathLike[str]) -> Any:
    """The root element of an XML file.

    Args:
        data: The file's bytes.
        file: Its name, for messages.

    Raises:
        ReadError: It is not well-formed, or declares entities.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=False
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise ReadError(
            f"is not well-formed XML ({str(error).split(', line')[0]})",
            file=file,
            line=error.lineno,
            cure="mend the XML at this line, or fetch the file again",
        ) from error
    internal = root.getroottree().docinfo.internalDTD
    if internal is not None and next(internal.iterentities(), None) is not None:
        raise ReadError(
            "declares XML entities, which are not expanded", file=file, cure="write the file without a DOCTYPE"
        )
    return root


def local_name(element: Any) -> str:
    """Tag without its namespace; empty for comments and processing instructions."""
    tag = element.tag
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""


def plain_text(text: str) -> str:
    """Runs of white space as one space, none at the ends."""
    return " ".join(text.split())
