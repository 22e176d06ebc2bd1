"""Where `configs/` and `samples/` are: the checkout's, or the copies inside the wheel.

Convention: in a checkout `pyproject.toml` lies beside the `spinemed` folder, and the folders beside it are used; in an
installed wheel the same folders travel under `spinemed/_resources/`. They lie side by side in both, so a config may
say `../samples/...`.
"""

from __future__ import annotations

from pathlib import Path

from spinemed.errors import ReadError

__all__ = ["configs_dir", "resource_root", "samples_dir"]


def resource_root() -> Path:
    """The folder that holds `configs/` and `samples/`."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    return checkout if (checkout / "pyproject.toml").is_file() else package / "_resources"


def _folder(name: str) -> Path:
    folder = resource_root() / name
    if not folder.is_dir():
        raise ReadError("does not exist", file=folder, cure="install SpineMed again: its wheel carries this folder")
    return folder


def configs_dir() -> Path:
    """The folder of bundled configs."""
    return _folder("configs")


def samples_dir() -> Path:
    """The folder of bundled samples; licences and origins stand in its `SOURCES.md`."""
    return _folder("samples")
