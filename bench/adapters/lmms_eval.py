"""An lmms-eval task folder (YAML and `utils.py`), and its sample logs to replies.

Convention: `spinebench.yaml` names `utils.py` beside it by `!function`, as that engine's tasks do, and the data file by
its absolute path, because the engine resolves a relative one from where it was started. `process_results` writes
`sample_id` and the reply under `spinebench` into each line of `*_samples_spinebench.jsonl` (`--log_samples`), which is
what is read back: the log itself leaves the document out.

Trap: that engine strips reasoning before scoring and keeps the raw reply as `resps` only where it differs; the raw one
is read, since the extractor here strips reasoning itself. The layouts were checked against the engine's documentation
and source; the engine itself was not run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from bench.adapters.questions import flat_text, without_placeholders
from bench.adapters.replies import Heard, Reply
from bench.samples import SAMPLES_FILE
from spinemed.errors import ReadError, RecordError
from spinemed.records import Sample
from spinemed.tables import parse_json, write_jsonl, write_text

__all__ = ["read_lmms_eval", "write_lmms_eval"]

TASK = "spinebench"
_YAML = """\
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
task: {task}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_messages: !function utils.doc_to_messages
doc_to_target: answer
process_results: !function utils.process_results
generation_kwargs:
  max_new_tokens: 256
  temperature: 0
  do_sample: false
metric_list:
  - metric: spinebench
    aggregation: !function utils.aggregate
    higher_is_better: true
metadata:
  - version: 1.0
"""


def write_lmms_eval(folder: Path, samples: list[Sample], target: Path, final: Path) -> None:
    """Write task, helper, questions and pictures.

    Args:
        folder: Samples folder.
        samples: What is asked.
        target: Folder that is being written.
        final: The name it will have; the YAML holds it.
    """
    write_text(target / f"{TASK}.yaml", _YAML.format(data=json.dumps(str(final / "questions.jsonl")), task=TASK))
    shutil.copyfile(Path(__file__).with_name("lmms_utils.py"), target / "utils.py")
    lines = [
        json.dumps(
            {
                "id": sample.id, "text": without_placeholders(flat_text(sample)), "interleaved": flat_text(sample),
                "images": [str(final / path) for path in sample.images], "answer": sample.answer,
                "cluster": sample.cluster,
            },
            ensure_ascii=False,
        )
        for sample in samples
    ]  # fmt: skip
    write_jsonl(target / SAMPLES_FILE, samples)
    write_text(target / "questions.jsonl", "\n".join(lines) + "\n")
    for path in sorted({path for sample in samples for path in sample.images}):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / path, target / path)


def read_lmms_eval(path: Path, *, model: str | None) -> Heard:
    """Replies of a `*_samples_spinebench.jsonl`; the model's name stands in `*_results.json` beside it.

    Raises:
        ReadError: It is no such file.
        RecordError: A sample stands twice, or no model is named anywhere.
    """
    replies: dict[str, Reply] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"cannot be read ({error})", file=path, cure="give the file of --log_samples") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            name, text = str(row[TASK]["sample_id"]), _raw(row)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ReadError(
                f"is no line of this task ({error!r})", file=path, line=number, cure="run the exported task unchanged"
            ) from error
        if name in replies:
            raise RecordError(f"sample {name} stands twice", file=path, line=number, cure="give the log of one run")
        replies[name] = Reply(text)
    results = path.with_name(path.name.split("_samples_")[0] + "_results.json")
    about: dict[str, Any] = {}
    if results.is_file():
        about = parse_json(results.read_bytes())
    named = model or about.get("model_name") or about.get("config", {}).get("model_args")
    if not named:
        raise RecordError(
            "no results file beside it names the model", file=results, field="model_name", cure="give --model NAME"
        )
    version = str(about.get("lmms_eval_version") or about.get("git_hash") or "unknown")
    return Heard(f"lmms-eval {version}", str(named), replies)


def _raw(row: dict[str, Any]) -> str:
    found: Any = row.get("resps") or row["filtered_resps"]
    while isinstance(found, list):
        found = found[0]
    return str(found)


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `!function utils.name` as its text, for checks of the written task."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))


def read_task(path: Path) -> dict[str, Any]:
    """The written task as plain values, `!function` as text."""
    values: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    return values
