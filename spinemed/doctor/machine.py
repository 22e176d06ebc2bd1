"""Processor, memory, GPUs and disk of this machine, as far as this process may use them.

Convention: sizes in GiB; None where the system does not tell. Limits of a container (cgroup v1 and v2) count, because
a job is killed at them and not at the machine's own size.

Trap: a quota of processor time is no set of cores: libraries see all cores and start as many threads, which the quota
then holds still for most of the time.
"""

from __future__ import annotations

import ast
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

__all__ = ["BF16_COMPUTE", "Gpu", "Machine", "TorchBuild", "look_at_machine"]

GIB = 1024**3
BF16_COMPUTE = 8.0
"""Least CUDA compute capability with bfloat16 units (NVIDIA, CUDA C++ Programming Guide, table of arithmetic)."""
NO_LIMIT = 1 << 60
"""cgroup v1 writes a number of this size where there is no limit."""


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU as its driver names it."""

    name: str
    memory_gib: float
    bf16: bool | None


@dataclass(frozen=True)
class TorchBuild:
    """What torch was built for, from its version file; it is not imported."""

    version: str
    cuda: str | None


@dataclass(frozen=True)
class Machine:
    """What this process may use."""

    system: str
    processor: str | None
    cores: int
    cores_allowed: float
    """Cores of the process's affinity mask, or fewer where a quota of processor time is set."""
    memory_gib: float | None
    memory_limit_gib: float | None
    """Limit of the container; None where there is none."""
    bf16_cpu: bool | None
    """The processor multiplies bfloat16 itself (AVX-512 BF16, AMX or Arm's extension)."""
    gpus: tuple[Gpu, ...]
    driver_cuda: str | None
    """Newest CUDA that the driver runs."""
    torch: TorchBuild | None
    runs_folder: str
    disk_free_gib: float | None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _own_cgroups(root: Path) -> list[Path]:
    """Folders of this process's control groups, from its own up to the root."""
    found = []
    for line in (_text(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root if not controllers else root / controllers
        own = base / path.lstrip("/")
        found += [folder for folder in (own, *own.parents) if folder == base or base in folder.parents]
    return [*found, root, root / "cpu", root / "memory"]


def _numbers(folders: list[Path], name: str) -> list[list[str]]:
    return [text.split() for folder in folders if (text := _text(folder / name))]


def memory_limit(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Least memory limit of this process's control groups in GiB; None without any."""
    folders = _own_cgroups(root)
    words = [*_numbers(folders, "memory.max"), *_numbers(folders, "memory.limit_in_bytes")]
    limits = [int(word[0]) for word in words if word[0].isdigit() and int(word[0]) < NO_LIMIT]
    return min(limits) / GIB if limits else None


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Least quota of processor time of this process's control groups, in cores; None without any."""
    folders = _own_cgroups(root)
    quotas = [int(word[0]) / int(word[1]) for word in _numbers(folders, "cpu.max") if word[0].isdigit()]
    for folder in folders:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota and period and int(quota) > 0:
            quotas.append(int(quota) / int(period))
    return min(quotas) if quotas else None


def _processor(text: str | None) -> tuple[str | None, bool | None]:
    """Name and bfloat16 support from /proc/cpuinfo."""
    if text is None:
        return platform.processor() or None, None
    name, flags = None, None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and name is None:
            name = value.strip()
        elif key.strip() in ("flags", "Features") and flags is None:
            flags = set(value.split())
    return name, None if flags is None else bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def _driver(seconds: float = 2.0) -> tuple[tuple[Gpu, ...], str | None]:
    """GPUs and the driver's CUDA version, by `nvidia-smi`; none where it is absent, fails or hangs."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return (), None

    def ask(*arguments: str) -> str:
        try:
            asked = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=seconds, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return asked.stdout if asked.returncode == 0 else ""

    rows = ask("--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits").splitlines()
    found = []
    for row in rows:
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) == 3 and cells[1].isdigit():
            capable = None
            if cells[2].replace(".", "", 1).isdigit():
                capable = float(cells[2]) >= BF16_COMPUTE
            found.append(Gpu(cells[0], int(cells[1]) / 1024, capable))
    cuda = None
    if found:
        _, _, after = ask().partition("CUDA Version:")
        cuda = after.split()[0] if after.split() else None
    return tuple(found), cuda


def torch_build() -> TorchBuild | None:
    """Version and CUDA of the installed torch, read and not imported; None where torch is absent."""
    try:
        found = distribution("torch")
    except PackageNotFoundError:
        return None
    values: dict[str, str | None] = {}
    text = _text(Path(str(found.locate_file("torch/version.py"))))
    for node in ast.parse(text or "").body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            values[target.id] = None if value.value is None else str(value.value)
    return TorchBuild(values.get("__version__") or found.version, values.get("cuda"))


def _free_gib(folder: Path) -> float | None:
    """Free space where a folder is, or would be made."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            try:
                return shutil.disk_usage(place).free / GIB
            except OSError:
                return None
    return None


def look_at_machine(runs: Path) -> Machine:
    """Everything about the machine; `runs` is the folder that run folders are made in."""
    processor, bf16 = _processor(_text(Path("/proc/cpuinfo")))
    allowed: float = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    pages, size = "SC_PHYS_PAGES", "SC_PAGE_SIZE"
    memory = os.sysconf(pages) * os.sysconf(size) / GIB if {pages, size} <= set(os.sysconf_names) else None
    limit = memory_limit()
    gpus, driver = _driver()
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor,
        cores=os.cpu_count() or 1,
        cores_allowed=allowed if quota is None else min(allowed, quota),
        memory_gib=memory,
        memory_limit_gib=limit if limit is None or memory is None or limit < memory else None,
        bf16_cpu=bf16,
        gpus=gpus,
        driver_cuda=driver,
        torch=torch_build(),
        runs_folder=str(runs),
        disk_free_gib=_free_gib(runs.absolute()),
    )
