"""With and without tools: a caller by rule over real HTTP, exact and faulty masks, paired gains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.assisted import AssistedConfig, RuleCaller, degraded, measure_gain
from bench.assisted.caller import Words, guess
from bench.live import LiveConfig, plan_cases
from bench.runner.tooled import ToolConfig
from spinemed.chat import ServerConfig
from spinemed.errors import ConfigError, ReadError

LIVE = LiveConfig(
    count=20, seed=3, undecidable_share=0.0, real=False, mix={"volume": 0.2, "level": 0.8},
    size={"slice_mm": 2.0, "flat_px": 256},  # type: ignore[arg-type]
)  # fmt: skip
"""One spine with a mask, and level questions that no tool here settles."""


def body(text: str, *told: dict[str, Any], tools: bool = True) -> dict[str, Any]:
    turns: list[dict[str, Any]] = [{"role": "user", "content": text}]
    for one in told:
        turns += [{"role": "assistant", "content": None}, {"role": "tool", "content": json.dumps({"result": one})}]
    return {"messages": turns, **({"tools": [{"type": "function"}], "tool_choice": "auto"} if tools else {})}


def call_of(choice: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    function = choice["message"]["tool_calls"][0]["function"]
    return function["name"], json.loads(function["arguments"])


LISTED = {"images": [{"handle": "h", "values": "integer"}]}


def test_the_caller_reads_the_question_and_the_reply_and_never_more() -> None:
    caller = RuleCaller()
    loss = (
        "Earlier films of this patient show 12 thoracic and 5 lumbar vertebrae.\n"
        "By how many percent is L2 lower than its two neighbours?"
    )
    assert call_of(caller.reply(body(loss))) == ("list_images", {})
    assert call_of(caller.reply(body(loss, LISTED)))[1]["levels"] == ["L1", "L2", "L3"]
    heights = {"anterior": 30.0, "middle": 28.0, "posterior": 30.0}
    low = {"anterior": 18.0, "middle": 25.0, "posterior": 30.0}
    told = {"vertebrae": [{"level": f"L{n}", "heights_mm": low if n == 2 else heights} for n in (1, 2, 3)]}
    assert caller.reply(body(loss, LISTED, told))["message"]["content"] == "40.0"
    # What no tool settles is guessed: a level that is not in the mask, two masks, no functions, another question.
    assert caller.reply(body(loss, LISTED, {"vertebrae": []}))["message"]["content"] == guess(body(loss))
    assert caller.reply(body(loss, {"images": []}))["message"]["content"] == "30"
    assert caller.reply(body(loss, tools=False))["message"]["content"] == "30"
    assert caller.reply(body("Which vertebra is marked?"))["message"]["content"] == "not determinable"
    assert RuleCaller(calls=False).reply(body(loss))["message"]["content"] == "30"
    # A model that ran into its limit is passed on as cut, so that the client counts it so.
    cut = RuleCaller(lambda _: Words("from above: L3, L", finished=False), calls=False).reply(body(loss))
    assert (cut["finish_reason"], cut["message"]["content"]) == ("length", "from above: L3, L")


def test_faulty_masks_have_the_fault_they_are_named_after() -> None:
    labels = np.zeros((24, 24, 40), np.uint8)
    labels[6:18, 6:18, 5:17], labels[6:18, 6:18, 19:33] = 20, 21
    made = {kind: degraded(labels, kind, np.random.default_rng(1)) for kind in ("exact", "eroded", "dilated")}
    assert np.array_equal(made["exact"][0], labels)
    assert np.count_nonzero(made["eroded"][0] == 20) == 10**3
    assert np.count_nonzero(made["dilated"][0] == 20) > 14 * 12 * 12
    off, drawn = degraded(labels, "level_off", np.random.default_rng(1))
    assert set(np.unique(off)) == {0, 20 + drawn["step"], 21 + drawn["step"]}
    rough, _ = degraded(labels, "boundary", np.random.default_rng(1))
    changed = np.count_nonzero(rough != labels)
    assert 0 < changed < np.count_nonzero(labels) / 2
    assert np.array_equal(rough, degraded(labels, "boundary", np.random.default_rng(1))[0])


def test_a_served_model_gains_by_tools_where_they_settle_the_question(
    answer_chats: Callable[..., str], tmp_path: Path
) -> None:
    assert plan_cases(LIVE).count("volume") == 1
    server = ServerConfig(url=answer_chats(RuleCaller().reply), model="rules")
    config = AssistedConfig(live=LIVE, masks=("exact",), resamples=200, server=server)
    done = measure_gain(config, tmp_path / "run")
    rows = {(row["row"], row["against"]): row for row in done.facts["rows"]}
    assert ("fracture", "best constant answer") in rows
    assert done.facts["calls"]["exact"]["samples_with_a_call"] == 4
    for kind in ("fracture", "measurement"):
        row = rows[(kind, "without tools")]
        assert row["first_only"] >= 1
        assert row["second_only"] == 0
        assert row["low"] is None  # one spine carries no interval
    assert done.facts["calls"]["exact"]["refused_or_failed"] == 0
    assert done.figure.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "run" / "outputs" / "scores" / "summary.json").is_file()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model is named"):
        measure_gain(AssistedConfig(live=LIVE), tmp_path / "run")
    server = ServerConfig(url="http://127.0.0.1:9/v1", model="m")
    config = AssistedConfig(live=LIVE, tools=ToolConfig(root=tmp_path), server=server)
    with pytest.raises(ConfigError, match="is set by the run"):
        measure_gain(config, tmp_path / "run")


def test_named_networks_are_offered_and_hashed(tmp_path: Path) -> None:
    from bench.runner.tooled import _model_hashes

    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights").write_bytes(b"1")
    config = ToolConfig(labeller=tmp_path / "net")
    assert (config.models.labeller, config.models.completer) == (str(tmp_path / "net"), None)
    first = _model_hashes(config)
    (tmp_path / "net" / "weights").write_bytes(b"2")
    assert first["labeller"] != _model_hashes(config)["labeller"]
    with pytest.raises(ReadError, match="is no folder"):
        _model_hashes(ToolConfig(completer=tmp_path / "gone"))


def test_a_kind_that_nobody_answered_costs_the_figure_a_point_and_not_the_run(tmp_path: Path) -> None:
    from bench.assisted.figure import draw_gain

    row = {"row": "fracture", "against": "without tools", "masks": "exact", "dice": 1.0, "n": 0, "clusters": 0}
    rows = [
        {**row, "difference": None, "low": None, "high": None},
        {**row, "masks": "eroded", "difference": 0.2, "low": 0.1, "high": 0.3, "n": 9, "clusters": 3},
    ]
    draw_gain([{"model": "served", "rows": rows}], tmp_path / "gain.png")
    assert (tmp_path / "gain.png").stat().st_size > 1000
