"""Reference of all configs: one page a job, with the tables of its classes and the YAML files that the house ships.

Convention: a job is named by the class that `load_config` validates against and the command that reads it. What a
class leads to stands on the page of the first job that uses it.
"""

from __future__ import annotations

import functools
import importlib
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from fields import class_part, reached
from links import PACKAGES, ROOT
from pydantic import BaseModel


@dataclass(frozen=True)
class Job:
    """One kind of config.

    Attributes:
        page: Name of its page.
        title: Its heading.
        target: `package:Class` that the file is validated against.
        command: The command that reads it.
        files: Shipped examples, relative to `configs/`.
    """

    page: str
    title: str
    target: str
    command: str
    files: tuple[str, ...] = ()


_JOBS = (
    Job("quickstart", "Quickstart", "spinemed:QuickstartConfig", "spinemed quickstart",
        ("quickstart.yaml", "quickstart_smoke.yaml")),
    Job("case", "One case", "spinemed:CaseConfig", "spinemed case report", ("case.yaml",)),
    Job("case_run", "One case: its run folder", "spinemed:CaseRun", "spinemed case report"),
    Job("data", "Data run", "data_pipeline:BuildConfig", "spinemed data run",
        ("data_quickstart.yaml", "data/samples.yaml", "data_written.yaml")),
    Job("guidance", "Guidance from reviewers", "data_pipeline:Guidance", "spinemed data run"),
    Job("train", "Training in stages", "train:TrainConfig", "spinemed train run",
        ("sft_nano.yaml", "train/spinegpt_nano.yaml", "train/spinegpt_7b.yaml", "train/spinegpt_7b_lora.yaml",
         "train/spinegpt_32b.yaml")),
    Job("ablate", "Ablation", "train:AblateConfig", "spinemed train ablate",
        ("ablate_nano.yaml", "ablate_7b.yaml")),
    Job("warmup", "Nano base", "train:WarmupConfig", "spinemed train warmup", ("nano_base.yaml",)),
    Job("bench", "Benchmark of a model", "bench:BenchConfig", "spinemed bench run", ("bench/samples.yaml",)),
    Job("live", "SpineBench-Live", "bench:LiveConfig", "spinemed bench live", ("bench/live.yaml",)),
    Job("tools", "With and without tools", "bench:AssistedConfig", "spinemed bench tools", ("bench/tools.yaml",)),
    Job("consult", "Consultations", "bench:ConsultConfig", "spinemed bench consult",
        ("bench/consultation.yaml",)),
    Job("judges", "Judges", "bench:JudgesConfig", "spinemed bench judge", ("bench/judges.yaml",)),
    Job("examination", "Examination of judges", "bench:Thresholds", "spinemed bench examine"),
    Job("submission", "Submission", "bench:Declaration", "spinemed bench validate"),
    Job("matrix", "VerSe: many algorithms", "bench:MatrixConfig", "spinemed verse matrix"),
    Job("labelling", "Vertebra labeller", "train:LabellingConfig", "spinemed train labelling",
        ("labelling_phantom.yaml", "labelling_verse.yaml")),
    Job("synthesis", "Synthesisers of vertebrae", "train:SynthesisConfig", "spinemed train synthesis",
        ("synthesis_completer_phantom.yaml", "synthesis_generator_phantom.yaml", "synthesis_generator_verse.yaml")),
    Job("lifter", "Lifter of spine motion", "train:LifterJob", "spinemed train lifter",
        ("lifter_simple.yaml", "lifter_temporal.yaml")),
    Job("motion", "Simulated motion", "spinemed:SimulateConfig", "spinemed motion simulate",
        ("motion_simspine.yaml",)),
    Job("markers", "Names of markers", "spinemed:MarkerNames", "spinemed motion fit",
        ("motion_run_markers.yaml",)),
    Job("phantom", "Phantoms in three dimensions", "spinemed:PhantomSetConfig",
        "spinemed phantom make", ("phantom_lumbar.yaml", "phantom_full.yaml")),
    Job("phantom_draw", "Phantoms in two dimensions", "spinemed:PhantomConfig",
        "spinemed phantom draw"),
)  # fmt: skip
INTERNAL = {
    "bench:Published": "published tables that ship with the benchmarks",
    "bench:PublishedTable": "the published table that ships with the benchmark",
    "bench:Rules": "rules that ship with the benchmark",
    "bench:Lexicon": "words that ship with the benchmark",
    "data_pipeline:Entry": "one entry of configs/vocabulary/*.yaml, described at their top",
}
"""Config classes of files that ship inside a package and that nobody writes, with what they are."""
_CLASS = re.compile(r"^class (\w+)\(", re.MULTILINE)
NOT_JOBS = {
    "sources_quickstart.yaml": "../../formats/sources.md",
    "data/sources_samples.yaml": "../../formats/sources.md",
}
"""YAML files of `configs/` that are contracts, not configs."""


@functools.cache
def config_modules() -> dict[tuple[str, str], str]:
    """Package and name of every class that the packages define at top level, with the module that defines it.

    Read from the sources, so that a class may move within its package. A name that stands twice has the last module.
    """
    found = {}
    for room in PACKAGES:
        for path in sorted((ROOT / room).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for name in _CLASS.findall(path.read_text(encoding="utf-8")):
                found[room, name] = module
    return found


JOBS = tuple(job for job in _JOBS if tuple(job.target.split(":")) in config_modules())
"""The jobs of this checkout."""


def job_class(target: str) -> type[BaseModel]:
    """The class that `package:Class` names."""
    room, _, name = target.partition(":")
    found: type[BaseModel] = getattr(importlib.import_module(config_modules()[room, name]), name)
    return found


def config_places() -> dict[type[BaseModel], str]:
    """Each config class with the page that holds its table."""
    places: dict[type[BaseModel], str] = {}
    for job in JOBS:
        for model in reached([job_class(job.target)]):
            places.setdefault(model, f"reference/configs/{job.page}.md")
    return places


def file_anchor(name: str) -> str:
    """The anchor of a shipped YAML file on its page."""
    return "file-" + Path(name).as_posix().removesuffix(".yaml").replace("/", "-").replace("_", "-")


def config_links() -> dict[str, str]:
    """Every shipped YAML file of a job with its page and anchor."""
    found = {
        f"configs/{name}": f"reference/configs/{job.page}.md#{file_anchor(name)}" for job in JOBS for name in job.files
    }
    found |= {"configs": "reference/configs/index.md", "configs/": "reference/configs/index.md"}
    return found


def config_pages(places: dict[type[BaseModel], str]) -> dict[str, str]:
    """The pages of the config reference: path in the site to Markdown."""
    pages = {"reference/configs/index.md": _index()}
    for job in JOBS:
        here = f"reference/configs/{job.page}.md"
        root = job_class(job.target)
        parts = [f"# {job.title}\n", f"Read by [`{job.command}`](../commands/{_command_link(job.command)}). "
                 "A field that is not written has its default; an unknown one is refused with the nearest known name. "
                 "Any field can be set on the command line where the command has `--set a.b=value`.\n"]  # fmt: skip
        own = [model for model in reached([root]) if places[model] == here]
        parts += [class_part(model, places, here, level=2 if model is root else 3) for model in own]
        if root not in own:
            parts.append(f"Its fields stand under [{root.__name__}](../../{places[root]}).\n")
        for name in job.files:
            text = (ROOT / "configs" / name).read_text(encoding="utf-8")
            parts.append(f"## `configs/{name}` {{ #{file_anchor(name)} }}\n\n```yaml\n{text.rstrip()}\n```\n")
        pages[here] = "\n".join(parts)
    return pages


def _index() -> str:
    rows = [
        f"| [{job.title}]({job.page}.md) | `{job.command}` | "
        + (", ".join(f"[`{name}`]({job.page}.md#{file_anchor(name)})" for name in job.files) or "–")
        + " |"
        for job in JOBS
    ]
    table = "\n".join(["| config | read by | shipped files, in `configs/` |", "| --- | --- | --- |", *rows])
    return (
        "# Configs\n\nA job's config is a YAML file. Each shipped one has its launch line on top. All faults of a file "
        "are reported together, each with its line. The resolved config is kept in the run folder as `config.yaml`.\n\n"
        f"{table}\n\n"
        "`sources.yaml` lists what may be read, under which licence: [Sources](../../formats/sources.md).\n"
    )


def _command_link(command: str) -> str:
    words = command.split()[1:]
    return f"{words[0]}.md#{'-'.join(['spinemed', *words])}"


def shipped_yaml() -> list[str]:
    """YAML files of `configs/` that hold a job, by path relative to it."""
    found = []
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        name = path.relative_to(ROOT / "configs").as_posix()
        if not name.startswith(("launch/", "vocabulary/")) and name not in NOT_JOBS:
            assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)
            found.append(name)
    return found
