"""Style sheet, scripts and vendored files: read once at start, served from memory by exact name.

Convention: `static/` of the web folder is served as `/static/...`, that of another part as `/static/<part>/...`; every
address carries a piece of the content's hash, so browsers may keep a file for good.

Trap: a name is looked up in a table and never joined to a path, so there is no path to climb out of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

__all__ = ["Asset", "Assets"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """One file as it is served."""

    body: bytes
    kind: str
    tag: str
    """First 16 hex digits of the SHA-256 of the bytes."""


class Assets:
    """All static files of the application, by name."""

    def __init__(self, folders: Iterable[tuple[str, Path]]) -> None:
        """Read the folders.

        Args:
            folders: Pairs of prefix (`""` or `"viewer/"`) and folder; a folder that is not there has no files.
        """
        self.files: dict[str, Asset] = {}
        for prefix, folder in folders:
            for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
                if file.is_file() and not file.is_symlink() and file.suffix in _TYPES:
                    body = file.read_bytes()
                    name = prefix + file.relative_to(folder).as_posix()
                    self.files[name] = Asset(body, _TYPES[file.suffix], hashlib.sha256(body).hexdigest()[:16])

    def address(self, name: str) -> str:
        """The address of a file, with its hash. Raises KeyError for a name that no folder holds."""
        return f"/static/{name}?v={self.files[name].tag}"

    def serve(self, name: str, request: Request) -> Response:
        """The file, or 304 where the browser has it, or 404."""
        asset = self.files.get(name)
        if asset is None:
            return PlainTextResponse("There is no such file.", 404)
        # A script that another one imports is asked for without the hash: that address must be asked again.
        named = request.query_params.get("v") == asset.tag
        kept = "public, max-age=31536000, immutable" if named else "public, no-cache"
        headers = {"etag": f'"{asset.tag}"', "cache-control": kept}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, media_type=asset.kind, headers=headers)
