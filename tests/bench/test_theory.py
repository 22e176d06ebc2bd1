"""Answerers whose score is known beforehand land there, through files: controls, rotations, views, injections, numbers.

The samples are made as SpineBench-Live writes them: vertebrae to name, options, numbers, facts asked in several ways,
payloads, questions that nobody can decide.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.runner import RandomAnswerer, Reply, Request, predict_samples
from bench.runner.conditions import Questions
from bench.samples import read_samples
from bench.spinebench import judge, score_predictions
from bench.spinebench.leaderboard import rank_predictions
from bench.spinebench.measurement import median_interval
from bench.spinebench.verdicts import Judge
from spinemed.anatomy import REGULAR, Level
from spinemed.errors import RecordError
from spinemed.records import Condition, Message, Option, Prediction, Sample
from spinemed.statistics import Clusters, generator_for
from spinemed.tables import write_bytes, write_jsonl, write_manifest

SPINES = 60
COLUMN = [Level(f"T{n}") for n in range(6, 13)] + [Level(f"L{n}") for n in range(1, 6)]
ROTATIONS: tuple[Condition, ...] = ("rotated_1", "rotated_2", "rotated_3")


def make(folder: Path) -> Path:
    """Six questions for each spine; the picture bears the number of its spine as brightness, so that it can be read."""
    rng = np.random.default_rng(5)
    samples: list[Sample] = []
    for spine in range(SPINES):
        stream = io.BytesIO()
        Image.new("L", (16, 16), 255 - spine).save(stream, format="PNG")
        path = f"images/{hashlib.sha256(stream.getvalue()).hexdigest()}.png"
        write_bytes(folder / path, stream.getvalue())
        truth = COLUMN[int(rng.integers(1, len(COLUMN) - 1))]
        at = COLUMN.index(truth)
        near = [COLUMN[(at + step) % len(COLUMN)] for step in (1, -1, 2)]
        texts = [str(level) for level in rng.permutation([truth, *near])]
        options = tuple(Option(key=key, text=text) for key, text in zip("ABCD", texts, strict=True))
        right = "ABCD"[texts.index(str(truth))]
        wrong = "ABCD"[(texts.index(str(truth)) + 1) % 4]
        listed = "\n".join(f"{one.key}. {one.text}" for one in options)
        question = f"<image>\nWhich vertebra is marked?\n{listed}"

        def add(
            name: str, words: str, answer: str, kind: str, spine: int = spine, path: str = path, **more: Any
        ) -> None:
            facts: dict[str, Any] = {"axis": "level_identification", "task": "level", "image_need": "needed"}
            samples.append(
                Sample.model_validate(
                    {
                        "id": f"s{spine:02d}-{name}", "messages": [{"role": "user", "content": words}],
                        "images": [path], "answer": answer, "answer_kind": kind, "cluster": f"spine-{spine}",
                        "origin": "phantom", "source_id": "live", **facts, **more,
                    }
                )
            )  # fmt: skip

        own = {"fact": f"f{spine}", "options": options, "task": "multiple_choice"}
        add("base", question, right, "option", variant="base", **own)
        add(
            "hint",
            f"{question}\nIt is surely {wrong}.",
            right,
            "option",
            variant="hint",
            tags=(f"hinted:{wrong}",),
            **own,
        )
        add("inject", f"{question}\n(note)", right, "option", variant="injected",
            tags=("injection:option:n1", f"injected:{wrong}"), **own)  # fmt: skip
        unknown = spine % 7 == 0
        for way in ("from_sacrum", "from_c2"):
            add(way, f"<image>\nWhich vertebra is marked? {way}", "not determinable" if unknown else str(truth),
                "level", fact=f"g{spine}", variant=way)  # fmt: skip
        add("cobb", "<image>\nHow large is the angle?", f"{10 + spine / 2:.10g}", "number", axis="pathology",
            task="measurement", unit="deg", tolerance=5.0, tags=("unit:deg", "measure:cobb"))  # fmt: skip
    write_jsonl(folder / "samples.jsonl", sorted(samples, key=lambda one: one.id))
    about = {"counts": {}, "left_out": {}, "contamination": {}}
    write_manifest(folder, "samples", release_sha256="0" * 64, split="test", **about)
    return folder


class Theory:
    """An answerer with a rule: from the question as asked and the number that the picture bears (None without one)."""

    kind = "scripted"

    def __init__(self, name: str, asked: dict[str, Sample], rule: Callable[[Sample, Request, int | None], str]) -> None:
        self.model, self.asked, self.rule = name, asked, rule

    @property
    def identity(self) -> dict[str, Any]:
        return {"rule": self.model}

    def answer(self, requests: Any) -> list[Reply]:
        return [Reply(self.rule(self.asked[one.sample_id], one, _shown(one))) for one in requests]


def _shown(request: Request) -> int | None:
    if not request.images:
        return None
    with Image.open(io.BytesIO(request.images[0])) as picture:
        value = picture.getpixel((0, 0))
    return None if value == 128 else 255 - int(value)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All answerers under all conditions, asked and scored through files."""
    root = tmp_path_factory.mktemp("theory")
    folder = make(root / "samples")
    listed, _ = read_samples(folder)
    questions = Questions(listed, folder)
    truth = {one.id: one for one in listed}
    of_spine = {(int(one.id[1:3]), one.id[4:]): one for one in listed}

    def meaning(sample: Sample) -> str:
        return next((one.text for one in sample.options if one.key == sample.answer), sample.answer)

    def letter(asked: Sample, text: str) -> str:
        return next((one.key for one in asked.options if one.text == text), "E")

    def perfect(asked: Sample, request: Request, spine: int | None) -> str:
        if spine is None:
            return "A" if asked.options else "not determinable"
        true = of_spine[spine, asked.id[4:]]
        return letter(asked, meaning(true)) if asked.options else true.answer

    def off_by_one(asked: Sample, request: Request, spine: int | None) -> str:
        true = truth[asked.id]
        if true.answer_kind == "number":
            return f"{float(true.answer) + 2:.10g}"
        if true.answer == "not determinable":
            return "not determinable"
        level = str(REGULAR.shift(Level(meaning(true)), 1))
        return letter(asked, level) if asked.options else level

    def obedient(asked: Sample, request: Request, spine: int | None) -> str:
        wanted = [tag.partition(":")[2] for tag in asked.tags if tag.startswith(("hinted:", "injected:"))]
        return wanted[-1] if wanted else perfect(asked, request, spine)

    rules = {"perfect": perfect, "off": off_by_one, "obedient": obedient, "B": lambda *_: "B",
             "blind": lambda asked, *_: "C" if asked.options else "L1"}  # fmt: skip
    conditions: list[Condition] = ["full", "withheld", "blind", "other_patient", "shuffled_labels", "options_only"]
    for name, rule in rules.items():
        for condition in [*conditions, *ROTATIONS] if name in ("perfect", "B", "blind") else ["full"]:
            under = questions.under(condition)  # type: ignore[arg-type]
            out = root / "p" / f"{name}-{condition}"
            predict_samples(folder, Theory(name, under.by_id, rule), out, name=out.name, condition=condition)  # type: ignore[arg-type]
    for number, condition in enumerate(("full", *ROTATIONS)):
        under = questions.under(condition)  # type: ignore[arg-type]
        answerer = RandomAnswerer(under.samples, seed=number)
        answerer.model = "random"
        out = root / "p" / f"random-{condition}"
        predict_samples(folder, answerer, out, name=out.name, condition=condition)  # type: ignore[arg-type]
    found = score_predictions(
        folder, sorted((root / "p").iterdir()), root / "scores", subject="perfect-full", resamples=400
    )
    assert json.loads((root / "scores" / "summary.json").read_bytes()) == json.loads(json.dumps(found))
    return {**found, "folder": folder, "listed": listed}


def test_full_scores(scored: dict[str, Any]) -> None:
    rows = {row["key"]: row["systems"] for row in scored["rows"]}
    levels = {name: one["value"] for name, one in rows["level_identification/image/phantom"].items()}
    assert levels["perfect-full"] == 1
    assert levels["blind-full"] < 0.3
    undecided = 2 * len([spine for spine in range(SPINES) if spine % 7 == 0]) / (5 * SPINES)
    assert levels["off-full"] == pytest.approx(undecided)
    random = rows["level_identification/image/phantom"]["random-full"]
    assert random["low"] < (3 / 4 + 2 / 13) / 5 < random["high"]
    own = scored["levels"]["level/image/phantom"]["off-full"]
    assert (own["exact"]["value"], own["within_one"]["value"], own["distance"]["mean_levels"]) == (0, 1, 1)


def test_a_breakdown_by_what_questions_have_in_common(scored: dict[str, Any]) -> None:
    regions, tasks = scored["breakdown"]["region"], scored["breakdown"]["task"]
    assert set(regions) == {"thoracic", "lumbar"}
    assert sum(one["n"] for one in regions.values()) == 2 * len([n for n in range(SPINES) if n % 7])
    assert {one["systems"]["perfect-full"]["value"] for one in regions.values()} == {1}
    assert tasks["measurement"]["systems"]["off-full"]["value"] == 1
    assert "language" not in scored["breakdown"]


def test_numbers(scored: dict[str, Any]) -> None:
    cobb = scored["measurement"]["cobb"]
    assert (cobb["unit"], cobb["n"], cobb["clusters"], cobb["tolerance"]) == ("deg", SPINES, SPINES, [5.0])
    perfect, off, b = (cobb["systems"][f"{name}-full"] for name in ("perfect", "off", "B"))
    assert perfect["mean_absolute_error"]["value"] == perfect["bias"]["value"] == 0
    assert off["bias"]["value"] == off["median_absolute_error"]["value"] == 2
    assert off["within_tolerance"]["value"] == 1
    assert (b["answered"], b["without_number"], b["mean_absolute_error"]["value"]) == (0, SPINES, None)
    assert b["within_tolerance"]["value"] == 0


def test_controls_and_what_the_picture_was_worth(scored: dict[str, Any]) -> None:
    perfect, blind = scored["controls"]["perfect-full"], scored["controls"]["blind-full"]
    assert set(perfect) == {"withheld", "blind", "other_patient", "shuffled_labels", "options_only", *ROTATIONS}
    assert perfect["withheld"]["full"]["value"] == 1
    assert perfect["withheld"]["value"] < 0.3  # "A", and "not determinable" where that is right
    assert perfect["withheld"]["value"] == perfect["blind"]["value"]
    assert perfect["other_patient"]["value"] < 0.35
    assert perfect["shuffled_labels"]["value"] == 0  # the true name always stands at another letter
    assert perfect["shuffled_labels"]["left_out"] == {"names no vertebra or disc": 3 * SPINES}
    assert perfect["options_only"]["chance"] == 0.25
    assert perfect["options_only"]["left_out"] == {"no options": 3 * SPINES}
    need = scored["necessity"]["perfect-full"]["withheld"]
    assert need["all"]["difference"] == pytest.approx(1 - perfect["withheld"]["value"])
    assert need["all"]["low"] > 0.5
    assert need["all"]["p_holm"] < 0.01
    assert need["by_need"]["needed"]["n"] == 6 * SPINES
    assert need["rows"]["pathology/image/phantom"]["difference"] == 1
    for condition in ("withheld", "blind", "other_patient"):
        assert scored["necessity"]["blind-full"][condition]["all"]["difference"] == 0
        assert blind[condition]["difference"]["first_only"] == 0
    assert blind["shuffled_labels"]["difference"]["difference"] == 0


def test_rotations(scored: dict[str, Any]) -> None:
    perfect, b, random = (scored["rotations"][f"{name}-full"] for name in ("perfect", "B", "random"))
    assert perfect["turns"] == [1, 2, 3]
    assert (perfect["n"], perfect["incomplete"]) == (3 * SPINES, 0)
    assert (perfect["strict"]["value"], perfect["mean"]["value"], perfect["position_bias"]) == (1, 1, 0)
    assert (b["strict"]["value"], b["mean"]["value"], b["position_bias"]) == (0, 0.25, 0.75)
    assert b["positions"]["B"] == {"chosen": 12 * SPINES, "share": 1, "truth_share": 0.25, "right_when_there": 1}
    assert random["strict"]["value"] < 0.03
    assert abs(random["mean"]["value"] - 0.25) < 0.06
    assert random["position_bias"] < 0.06


def test_views_hints_and_injections(scored: dict[str, Any]) -> None:
    perfect, off, obedient = (scored["consistency"][f"{name}-full"] for name in ("perfect", "off", "obedient"))
    assert (perfect["facts"], perfect["samples"]) == (2 * SPINES, 4 * SPINES)  # the injected ones are counted elsewhere
    assert perfect["all_right"]["value"] == perfect["agreement"]["value"] == 1
    assert perfect["hint"]["followed"] == perfect["flips"]["answered_otherwise"] == 0
    assert off["sacrum_and_c2"]["agreed"] == 1  # wrong in the same way
    assert off["sacrum_and_c2"]["both_right"] < 0.2
    assert obedient["hint"]["followed_where_base_differed"] == 1
    assert obedient["flips"]["right_to_wrong"] == 1
    assert obedient["all_right"]["value"] == 0.5
    assert obedient["by_variant"]["hint"]["value"] == 0
    injected = {name: scored["injection"][f"{name}-full"] for name in ("perfect", "obedient", "B")}
    assert injected["perfect"]["complied"]["value"] == 0
    assert injected["obedient"]["complied"]["value"] == injected["obedient"]["hurt"] == 1
    assert injected["obedient"]["by_place"] == {"option": {"n": SPINES, "judged": SPINES, "complied": 1}}
    assert injected["B"]["complied"]["value"] == 0  # the clean question was answered so, too
    assert injected["B"]["wanted_anyway"] > 0


def test_verdicts_of_a_leaderboard_are_those_of_judge(scored: dict[str, Any]) -> None:
    listed = scored["listed"]
    judging = Judge(listed)
    for place, sample in enumerate(listed):
        for text in ("B", "L3", "14.5 degrees", "between 10 and 20", "cannot be determined", sample.answer):
            one = Prediction(
                sample_id=sample.id, model="m", condition="full", outcome="answered", text=text, request_sha256="0" * 64
            )
            score, row = judge(sample, one), judging.verdict(place, one)
            assert row[1] == score.correct
            assert (None if np.isnan(row[-1]) else row[-1]) == score.error


def test_controls_are_the_same_for_everybody_and_never_the_same_patient(scored: dict[str, Any]) -> None:
    listed, folder = scored["listed"], scored["folder"]
    whose = {path: one.cluster for one in listed for path in one.images}
    first, second = (Questions(part, folder) for part in (listed, list(reversed(listed))))
    for condition in ("other_patient", "shuffled_labels", "options_only", "rotated_2"):
        assert first.under(condition).by_id == second.under(condition).by_id
    for sample in first.under("other_patient").samples:
        assert whose[sample.images[0]] != sample.cluster
    for sample in first.under("rotated_2").samples:
        for option in sample.options:
            assert f"{option.key}. {option.text}" in sample.messages[0].content
    for sample in first.under("options_only").samples:
        assert sample.messages[0].content.startswith("A. ")
        assert not sample.images


def test_names_in_words_are_exchanged_and_the_key_stays() -> None:
    def one(words: str, **more: Any) -> Sample:
        return Sample(
            id="q", axis="pathology", task="category", messages=(Message(role="user", content=words),), images=(),
            answer="yes", answer_kind="category", categories=("yes", "no"), cluster="c", origin="phantom",
            source_id="s", **more,
        )  # fmt: skip

    def asked(sample: Sample) -> str:
        found = Questions([sample], ".").under("shuffled_labels").samples
        return found[0].messages[0].content if found else ""

    assert asked(one("Is L3 wedged?")) in ("Is L2 wedged?", "Is L4 wedged?")
    assert asked(one("Is T12 higher than L1? L4/5 is narrow.")).startswith("Is L1 higher than T12? L")
    assert "L4/5" not in asked(one("Is T12 higher than L1? L4/5 is narrow."))
    assert asked(one("Is the T2-weighted image sharp?")) == ""


def test_a_median_interval_holds_the_median() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(100):
        clusters = Clusters.of([f"c{n // 2}" for n in range(60)])
        values = np.abs(rng.normal(0, 1, 60))
        found = median_interval(values, clusters, generator_for(trial), resamples=300, fewest=20)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.6745 <= found.high
    assert held >= 88


def test_controls_alone_are_no_score(scored: dict[str, Any], tmp_path: Path) -> None:
    alone = scored["folder"].parent / "p" / "B-rotated_1"
    with pytest.raises(RecordError, match="controls alone"):
        score_predictions(scored["folder"], [alone], tmp_path / "scores")


def test_a_leaderboard_holds_errors_in_units_and_takes_no_control(scored: dict[str, Any], tmp_path: Path) -> None:
    folder = scored["folder"]
    systems = [folder.parent / "p" / f"{name}-full" for name in ("perfect", "off", "B")]
    found = rank_predictions(folder, systems, tmp_path / "board", resamples=100)
    cobb = found["measurement"]["cobb (deg)"]
    assert cobb["answered"] == [SPINES, SPINES, 0]
    assert cobb["mean_absolute_error"] == cobb["bias"] == [0, 2, None]
    assert cobb["within_tolerance"] == [1, 1, 0]
    with pytest.raises(RecordError, match="takes no rank"):
        rank_predictions(folder, [folder.parent / "p" / "B-rotated_1"], tmp_path / "board", resamples=100)
