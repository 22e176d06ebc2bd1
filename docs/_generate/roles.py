"""Docstrings as the site shows them: what Sphinx writes as a role becomes plain code."""

from __future__ import annotations

from typing import Any

import griffe
from words import plain_roles


class Roles(griffe.Extension):
    """Rewrites the docstring of every object that is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = plain_roles(obj.docstring.value)
