"""The project's secret: pseudonyms, replacement UIDs and date shifts, the same for one patient in every file.

Convention: everything is HMAC-SHA-256 under one key of at least 32 bytes, so that a pseudonym can be made again but not
be traced back without the key. A UID becomes `2.25.` and a 128-bit integer (ITU-T X.667, DICOM PS3.5 B.2). Dates of
one patient move together by a whole number of weeks between 1 and 520 back, so intervals and weekdays stay.

Trap: the key is as secret as the patients' names. It lies outside every run folder, and no output holds it.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
import stat
from pathlib import Path

from spinemed.errors import ConfigError, ReadError

__all__ = ["DeidKey", "read_key", "write_key"]

_WEEKS = 520
_SHORTEST = 32


class DeidKey:
    """The key in memory; its repr does not show it."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _SHORTEST:
            raise ConfigError(
                f"the key has {len(secret)} bytes, expected at least {_SHORTEST}",
                field="key",
                cure="let `spinemed data deidentify --new-key` write one",
            )
        self._secret = secret

    def __repr__(self) -> str:
        return "<key>"

    def digest(self, *parts: str) -> bytes:
        """HMAC-SHA-256 of the parts, with their lengths, so that no two lists of parts agree."""
        message = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return hmac.new(self._secret, message, hashlib.sha256).digest()

    def uid(self, uid: str) -> str:
        """The replacement of a UID."""
        value = int.from_bytes(self.digest("uid", uid.strip("\0 "))[:16], "big")
        return f"2.25.{value}"

    def pseudonym(self, patient: str) -> str:
        """`case-` and 12 hex digits."""
        return f"case-{self.digest('patient', patient)[:6].hex()}"

    def code(self, kind: str, value: str) -> str:
        """A short stand-in for an identifier: 8 upper-case hex digits."""
        return self.digest(kind, value)[:4].hex().upper()

    def shift(self, patient: str) -> datetime.timedelta:
        """How far this patient's dates move: always back, by whole weeks."""
        weeks = 1 + int.from_bytes(self.digest("dates", patient)[:8], "big") % _WEEKS
        return datetime.timedelta(weeks=-weeks)


def read_key(path: str | os.PathLike[str]) -> DeidKey:
    """Read the key file.

    Raises:
        ReadError: It is missing, too short, or others may read it.
    """
    file = Path(path)
    try:
        secret, mode = file.read_bytes(), file.stat().st_mode
    except OSError as error:
        raise ReadError(
            f"no key can be read ({error.strerror})",
            file=file,
            cure="name the project's key, or make one with --new-key",
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ReadError("the key may be read by others", file=file, cure="chmod 600 the file")
    try:
        return DeidKey(secret.strip())
    except ConfigError as error:
        raise ReadError(error.problem, file=file, cure=error.cure) from error


def write_key(path: str | os.PathLike[str]) -> None:
    """Write a fresh random key that only its owner may read; an existing file is never overwritten.

    Raises:
        ReadError: A file of that name stands there.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ReadError(
            f"no key can be written ({error.strerror})", file=path, cure="give a new name in a folder of yours"
        ) from error
    with os.fdopen(handle, "wb") as stream:
        stream.write(os.urandom(48).hex().encode() + b"\n")
