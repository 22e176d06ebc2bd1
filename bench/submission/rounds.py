"""Live rounds: the seed of the questions is committed to before and revealed after, so that no answer can move it.

Convention: `commitment.json` is published when a round opens: SHA-256 of `seed|salt|config hash|date`, with the
config's hash and the date. `secret.json` (seed and salt, readable by its owner alone) stays with whoever runs the
round. `reveal.json` is published at the end. Anybody can then check that the commitment is of that seed, make the
questions again from the config and compare their hash.

    commitment = sha256("SEED|SALT|CONFIG_SHA256|YYYY-MM-DD"), SEED in decimal, SALT 32 bytes in hexadecimal

This is a hash commitment as in textbooks: hiding because of the salt, binding because of the hash.

Traps: the config's hash is of the file's bytes, comments and all. The seed is not in the config: it overrides the
config's own. Before the commitment is published an operator may try seeds; and a samples folder holds its answers and
its seed, so it stays with the operator until the reveal (contestants get
`questions.py`'s form of it).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from bench.samples import read_samples
from spinemed.errors import ConfigError, ReadError, RunError
from spinemed.run import make_folder
from spinemed.tables import file_sha256, parse_json, read_manifest, write_json

__all__ = ["COMMITMENT", "REVEAL", "SECRET", "commitment_of", "open_round", "reveal_round", "verify_round"]

COMMITMENT, SECRET, REVEAL = "commitment.json", "secret.json", "reveal.json"
_SEED_BITS = 63


def commitment_of(seed: int, salt: str, config_sha256: str, day: str) -> str:
    """The published hash; the formula stands in the module's docstring."""
    return hashlib.sha256(f"{seed}|{salt}|{config_sha256}|{day}".encode()).hexdigest()


def open_round(
    config: str | os.PathLike[str], out: str | os.PathLike[str], *, day: str | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Open a round: draw seed and salt, write the commitment to publish and the secret to keep.

    Args:
        config: Config of `spinemed bench live`.
        out: Round folder; it must not hold a round.
        day: Date of the round, `YYYY-MM-DD`; today unless given.
        seed: Unless given, 63 random bits from the system.

    Returns:
        The commitment.

    Raises:
        ReadError: No such config.
        RunError: The folder holds a round already.
        ConfigError: The date is none, or the seed is negative.
    """
    folder, told = Path(out), day or date.today().isoformat()
    try:
        date.fromisoformat(told)
    except ValueError as error:
        raise ConfigError(f"{told!r} is no date", field="--date", cure="write it like 2026-01-31") from error
    if seed is not None and seed < 0:
        raise ConfigError("is negative", field="--seed", cure="give a number from 0 up")
    if (folder / COMMITMENT).exists() or (folder / SECRET).exists():
        raise RunError("holds a round already", file=folder, cure="give another --out; a commitment is made once")
    chosen = secrets.randbits(_SEED_BITS) if seed is None else seed
    salt, hashed = secrets.token_hex(32), file_sha256(config)
    commitment = {
        "commitment": commitment_of(chosen, salt, hashed, told),
        "config_sha256": hashed,
        "date": told,
        "formula": "sha256('SEED|SALT|CONFIG_SHA256|DATE')",
    }
    make_folder(folder)
    # The secret first, and closed to others from its first byte.
    handle = os.open(folder / SECRET, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(json.dumps({"seed": chosen, "salt": salt}) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    write_json(folder / COMMITMENT, commitment)
    return commitment


def reveal_round(folder: str | os.PathLike[str], samples: str | os.PathLike[str]) -> dict[str, Any]:
    """Close a round: write what is published after, with the hash of the questions that were asked.

    Args:
        folder: Round folder with its secret.
        samples: Samples folder that was made with the seed.

    Raises:
        ReadError: No round, no secret, or no finished samples.
        RunError: Secret and commitment do not belong together.
    """
    root = Path(folder)
    commitment, secret = _read(root / COMMITMENT), _read(root / SECRET)
    _check(root, commitment, secret)
    reveal = {**commitment, **secret, "samples_sha256": read_manifest(samples, "samples", verify=True)["sha256"]}
    write_json(root / REVEAL, reveal)
    return reveal


def verify_round(
    folder: str | os.PathLike[str],
    config: str | os.PathLike[str],
    *,
    samples: str | os.PathLike[str] | None = None,
    remake: bool = True,
) -> dict[str, Any]:
    """Check a revealed round: commitment, config, and the questions themselves.

    Args:
        folder: Folder with `commitment.json` and `reveal.json`.
        config: The config that the round named.
        samples: A samples folder that is said to be the round's; compared with the reveal.
        remake: Make the questions again in a child process and compare their hash.

    Returns:
        What was checked: `questions` and `remade`.

    Raises:
        ReadError: A file is missing.
        RunError: Something does not agree; it is named.
    """
    root = Path(folder)
    commitment, reveal = _read(root / COMMITMENT), _read(root / REVEAL)
    for name in ("commitment", "config_sha256", "date"):
        if commitment.get(name) != reveal.get(name):
            raise RunError(
                "differs from what was committed to", file=root / REVEAL, field=name,
                cure="do not trust this round: it was changed after it opened",
            )  # fmt: skip
    _check(root, commitment, reveal)
    if file_sha256(config) != commitment["config_sha256"]:
        raise RunError(
            "is not the config that the round was opened with", file=config, cure="give that very file, byte for byte"
        )
    if samples is not None:
        _same(read_manifest(samples, "samples", verify=True)["sha256"], reveal, Path(samples))
    questions = None
    if remake:
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / "samples"
            _make(Path(config), int(reveal["seed"]), made)
            listed, about = read_samples(made)
            questions = len(listed)
            _same(about["sha256"], reveal, made)
    return {"commitment": commitment["commitment"], "remade": remake, "questions": questions}


def _same(sha256: str, reveal: dict[str, Any], where: Path) -> None:
    if sha256 != reveal.get("samples_sha256"):
        raise RunError(
            f"has the hash {sha256[:12]}, and the round revealed {str(reveal.get('samples_sha256'))[:12]}", file=where,
            field="samples_sha256", cure="compare the versions of this project; if they agree, do not trust the round",
        )  # fmt: skip


def _check(root: Path, commitment: dict[str, Any], secret: dict[str, Any]) -> None:
    try:
        found = commitment_of(
            int(secret["seed"]), str(secret["salt"]), str(commitment["config_sha256"]), str(commitment["date"])
        )
        agreed = found == commitment["commitment"]
    except (KeyError, ValueError, TypeError) as error:
        raise RunError(f"lacks a part ({error!r})", file=root, cure="give the folder of a round") from error
    if not agreed:
        raise RunError(
            "seed and salt do not give the commitment", file=root / COMMITMENT, field="commitment",
            cure="do not trust this round: its seed is not the one that was committed to",
        )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_bytes())
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=path, cure="give the folder of a round") from error
    except ValueError as error:
        raise ReadError(f"is not JSON ({error})", file=path, cure="give the folder of a round") from error
    if not isinstance(found, dict):
        raise ReadError("is no object", file=path, cure="give the folder of a round")
    return found


def _make(config: Path, seed: int, out: Path) -> None:
    """`spinemed bench live` in a process of its own, as anybody would start it."""
    command = [
        sys.executable,
        "-m",
        "spinemed",
        "bench",
        "live",
        str(config),
        "--set",
        f"seed={seed}",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RunError(f"the questions cannot be made again: {said}", file=config, cure="mend the config and try again")
