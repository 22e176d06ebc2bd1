"""Configs, lists of sources, and arguments of tools.

Convention: every YAML under `configs/` that a job reads is damaged as values and as text, with what is YAML's own:
anchors that multiply, deep nesting, keys that stand twice, tags.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import yaml
from engine import Input, Seed, Target
from mutate import Generator, any_json, any_text, damage_value, deep, pick

from spinemed.config import load_config
from spinemed.errors import SpineMedError

_CONFIGS = {
    "data_quickstart.yaml": "data_pipeline.config:BuildConfig",
    "sft_nano.yaml": "train.config:TrainConfig",
    "ablate_nano.yaml": "train.ablation.ablate:AblateConfig",
    "labelling_phantom.yaml": "train.labelling.labeller:LabellingConfig",
    "synthesis_completer_phantom.yaml": "train.synthesis.synthesiser:SynthesisConfig",
    "lifter_temporal.yaml": "train.lifting.lifter:LifterJob",
    "motion_simspine.yaml": "spinemed.motion.dataset.config:SimulateConfig",
    "motion_run_markers.yaml": "spinemed.motion.sources:MarkerNames",
    "phantom_full.yaml": "spinemed.phantom.set_config:PhantomSetConfig",
    "phantom_lumbar.yaml": "spinemed.phantom.set_config:PhantomSetConfig",
    "quickstart.yaml": "spinemed.workflows.quickstart:QuickstartConfig",
    "bench/live.yaml": "bench.live.config:LiveConfig",
    "bench/judges.yaml": "bench.judges.judging:JudgesConfig",
    "bench/samples.yaml": "bench.run:BenchConfig",
    "bench/consultation.yaml": "bench.consultation.settings:ConsultConfig",
}

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
_YAMLS = (
    _BOMB,
    "a: &a [*a]\n",
    "? [1, 2]\n: 3\n",
    "a: !!python/object/apply:os.system ['true']\n",
    "a: !!binary '%%%'\n",
    "!!set {a, b}\n",
    "a: 2001-99-99\n",
    "a: !!timestamp 0\n",
    "a: 1\na: 2\n",
    "<<: *missing\n",
    "a: &x 1\nb: *y\n",
    "- 1\n- 2\n",
    "--- 1\n--- 2\n",
    "a: !!int 'x'\n",
    "a: !!float ''\n",
    "a: 1:99:99\n",
    "a: 0b\n",
    "%YAML 9.9\n---\na: 1\n",
    "a: |\n\tx\n",
    "\ta: 1\n",
    "a: .inf\nb: .nan\n",
    "<<: [1]\n",
    "<<: {a: 1}\n",
    "a: !!null x\n",
    "1: 2\n",
    "null: 1\n",
    "a: !<tag:yaml.org,2002:omap> [1]\n",
    "true: 1\n",
    "a: '\\ud800'\n",
    'a: "\\ud800"\n',
    'a: "\\U00110000"\n',
    "? a\n? b\n",
    "a: 0o8\n",
    "a: 190:20:30\n",
    "a: 1e99999\n",
    "a: +.inf\n",
    "=: 1\n",
    "a: =\n",
    "a: !!bool x\n",
    "a: ..\n",
)


def _config_seeds(samples: Path) -> list[Seed]:
    home = samples.parent / "configs"
    for place in _CONFIGS.values():  # imported before the worker is forked
        importlib.import_module(place.partition(":")[0])
    return [Seed(Path(name).name, (home / name).read_bytes(), place) for name, place in _CONFIGS.items()]


def change_yaml(rng: Generator, seeds: list[Seed]) -> Input:
    """Values, text, or YAML's own dangers, some of them appended to a valid config."""
    seed, way = pick(rng, seeds), rng.random()
    if way < 0.15:
        text = str(pick(rng, _YAMLS))
        return Input(seed, (seed.data if rng.random() < 0.5 else b"") + text.encode("utf-8", "replace"), text[:60])
    if way < 0.2:
        data, how = deep(rng, seed.data)
        if len(data) > 20_000:  # the pure Python reader of YAML is slow, not only deep
            data = data[:20_000]
        return Input(seed, b"a: " + data, how)
    if way < 0.4:
        return any_text(rng, [seed])
    value, told = yaml.load(seed.data, Loader=_LOADER), []
    for _ in range(int(rng.integers(1, 4))):
        value, how = damage_value(rng, value)
        told.append(how)
    return Input(seed, yaml.dump(value, sort_keys=False, Dumper=_DUMPER).encode("utf-8", "replace"), "; ".join(told))


def _config(path: Path, given: Input) -> object:
    module, _, name = given.seed.tag.partition(":")
    return load_config(path, getattr(importlib.import_module(module), name))


def _source_seeds(samples: Path) -> list[Seed]:
    """The first entries of a real list: reading all of it takes long."""
    text = (samples.parent / "configs" / "sources_quickstart.yaml").read_text(encoding="utf-8")
    few = "\n  - id:".join(text.split("\n  - id:")[:5]) + "\n"
    return [Seed("sources.yaml", few.replace("../samples", str(samples)).encode())]


def _sources(path: Path, given: Input) -> object:
    from data_pipeline.readers import check_options
    from data_pipeline.sources import read_sources

    found = read_sources(path)
    check_options(found, path)
    return found


# --- tools -----------------------------------------------------------------------------------------------------------


def _argument_seeds(samples: Path) -> list[Seed]:
    from spinemed.tools import Toolbox

    found = []
    for name, tool in Toolbox(None).tools.items():
        schema = tool.arguments.model_json_schema()
        values = {key: _example(one, schema) for key, one in schema.get("properties", {}).items()}
        found.append(Seed(f"{name}.json", json.dumps(values).encode(), name))
    return found


def _example(schema: dict[str, Any], whole: dict[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "$ref" in schema:
        return _example(whole["$defs"][schema["$ref"].rsplit("/", 1)[-1]], whole)
    for many in ("anyOf", "oneOf"):
        if many in schema:
            return _example(schema[many][0], whole)
    kind = schema.get("type")
    if kind == "object":
        return {key: _example(one, whole) for key, one in schema.get("properties", {}).items()}
    if kind == "array":
        return [_example(schema.get("items", {}), whole)] * max(1, int(schema.get("minItems", 1)))
    return {"integer": 1, "number": 1.0, "boolean": True, "string": "L1"}.get(str(kind))


def _arguments(path: Path, given: Input) -> object:
    """As the server's front does before a tool's child process is started."""
    from pydantic import ValidationError

    from spinemed.tools import Toolbox

    class Front(Toolbox):
        """Says what came through instead of starting the tool."""

        def _done(self, tool: Any, arguments: Any) -> Any:
            return super()._reply("", {})[0], json.dumps(arguments)[:20]

    box = Front(None)
    try:
        reply = box.call(given.seed.tag, path.read_bytes().decode("utf-8", "replace"))
    except ValidationError as error:
        raise AssertionError("a validation error escapes") from error
    json.dumps(reply.text if hasattr(reply, "text") else "", allow_nan=False)
    return reply


def _overrides(path: Path, given: Input) -> object:
    """`--set` from the command line, one a line."""
    module, _, name = "bench.live.config:LiveConfig".partition(":")
    told = path.read_bytes().decode("utf-8", "replace").splitlines()[:5]
    file = path.with_name("live.yaml")
    file.write_text("{}\n")
    try:
        return load_config(file, getattr(importlib.import_module(module), name), told)
    except SpineMedError as error:
        if "--set" in str(error) or file.name in str(error):
            error.file = str(path)
        raise


TARGETS = [
    Target("configs", _config_seeds, change_yaml, _config),
    Target("sources", _source_seeds, change_yaml, _sources),
    Target("tool-arguments", _argument_seeds, any_json, _arguments),
]
