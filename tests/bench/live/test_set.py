"""A whole set of live questions: shares, determinism, options, consistency, injection; nothing gives the answer."""

from __future__ import annotations

import re
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from bench.extract import extract_answer
from bench.extract.options import says_undecided
from bench.live import RECIPES, LiveConfig, make_live, plan_cases, undecidable_count
from bench.live.config import RECIPES_OF_MIX
from bench.live.consistency import VARIANTS_OF_A_FACT, VARIANTS_OF_A_FINDING
from bench.live.injection import PLACES, payloads
from bench.runner.tooled import read_payloads
from bench.samples import read_samples, spine_of
from bench.spinebench.abstention import is_undecidable
from bench.spinebench.consistency import clean_twin
from bench.spinebench.numbers import is_number_right
from spinemed.anatomy import Disc, Level
from spinemed.errors import ReadError
from spinemed.records import NOT_DETERMINABLE, Sample, Score

MIX = {**RECIPES_OF_MIX, "consistency": 0.16, "consistency_finding": 0.1, "level": 0.1}
CONFIG = LiveConfig(count=100, seed=11, mix=MIX, size={"flat_px": 256, "xray_mm": 1.6, "slice_mm": 1.2})  # type: ignore[arg-type]
SMALL = LiveConfig(count=24, seed=5, mix={"planning": 0.5, "fracture": 0.5}, size={"flat_px": 128})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], dict[str, Any], Path]:
    """One set with a case of every recipe."""
    folder = tmp_path_factory.mktemp("live") / "samples"
    manifest = make_live(CONFIG, folder)
    return read_samples(folder)[0], manifest, folder


def tag(sample: Sample, name: str) -> str:
    return next((one.partition(":")[2] for one in sample.tags if one.startswith(f"{name}:")), "")


def test_count_and_undecidable_share_are_exact_at_every_size() -> None:
    for count in (20, 37, 100, 500, 2001):
        for share in (0.0, 0.15, 0.3):
            config = LiveConfig(count=count, undecidable_share=share)
            copies = Counter(plan_cases(config))
            assert sum(n * RECIPES[name].undecidable for name, n in copies.items()) == undecidable_count(config)
            assert sum(n * (RECIPES[name].undecidable + RECIPES[name].decidable) for name, n in copies.items()) == count
    assert undecidable_count(LiveConfig(count=500)) == 75
    assert len(plan_cases(LiveConfig(count=500))) >= 150


def test_the_set_holds_what_was_planned(made: tuple[list[Sample], dict[str, Any], Path]) -> None:
    samples, manifest, _ = made
    assert len(samples) == 100
    assert sum(is_undecidable(sample) for sample in samples) == sum("undecidable" in s.tags for s in samples) == 15
    assert {tag(sample, "live") for sample in samples} == set(plan_cases(CONFIG))
    assert {"level_identification", "pathology", "surgical_planning"} == {sample.axis for sample in samples}
    assert {"level", "multiple_choice", "category", "measurement"} <= {sample.task for sample in samples}
    assert manifest["family"] == "b"
    measured = {sample.cluster for sample in samples if "volume" in sample.tags}
    assert measured == {path.split("/")[1] for path in manifest["files"] if path.startswith("volumes/")}
    assert measured
    assert not manifest["practice"]
    for sample in samples:
        assert sample.licence in ("Apache-2.0", "MIT")
        assert sample.evidence[0].startswith("sha256:")
        assert sample.difficulty
        assert sample.image_need
        assert ("family:b" in sample.tags) == bool(sample.images and sample.origin == "phantom")
        assert bool(tag(sample, "spine")) == ("family:b" in sample.tags)
        assert spine_of(sample).presacral


def test_the_same_seed_gives_the_same_bytes_however_it_is_made(tmp_path: Path) -> None:
    first = make_live(SMALL, tmp_path / "one")

    class Killed(Exception):
        pass

    done = 0

    def kill(number: int) -> None:
        nonlocal done
        done += number
        if done >= 5:
            raise Killed

    with pytest.raises(Killed):
        make_live(SMALL, tmp_path / "two", advance=kill)
    assert not (tmp_path / "two").exists()
    again = make_live(SMALL, tmp_path / "two")
    parallel = make_live(SMALL, tmp_path / "three", workers=2)
    assert first == again == parallel
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "three", "two"]
    other = make_live(SMALL.model_copy(update={"seed": 6}), tmp_path / "four")
    assert other["sha256"] != first["sha256"]
    with pytest.raises(ReadError, match="holds other samples"):
        make_live(SMALL.model_copy(update={"seed": 7}), tmp_path / "four")


def test_a_set_is_kept_and_an_unfinished_other_one_is_dropped(tmp_path: Path) -> None:
    make_live(SMALL, tmp_path / "set")
    asked = []
    make_live(SMALL, tmp_path / "set", advance=asked.append)
    assert asked == []
    shutil.copytree(tmp_path / "set", tmp_path / ".next.live")  # what another command left there
    (tmp_path / ".next.live" / "config.sha256").write_text("other")
    make_live(SMALL, tmp_path / "next")
    assert (tmp_path / "next" / "samples.jsonl").read_bytes() == (tmp_path / "set" / "samples.jsonl").read_bytes()


def test_the_canonical_answer_of_every_question_is_read_as_right(
    made: tuple[list[Sample], dict[str, Any], Path],
) -> None:
    for sample in made[0]:
        said = {"deg": " degrees", "mm": " mm", "percent": " %", "": ""}[sample.unit]
        for reply in (f"The answer is {sample.answer}", sample.answer, f"**Answer:** {sample.answer}"):
            assert extract_answer(reply, sample).answer == sample.answer, (reply, sample.id, sample.tags)
        if sample.answer_kind == "number" and sample.answer != NOT_DETERMINABLE:
            reply = f"The answer is {float(sample.answer) + 0.5 * (sample.tolerance or 0):.10g}{said}"
            assert is_number_right(sample, extract_answer(reply, sample).answer)
            far = f"The answer is {float(sample.answer) + 2 * (sample.tolerance or 1) + 0.5:.10g}{said}"
            assert not is_number_right(sample, extract_answer(far, sample).answer)


def test_options_differ_one_is_right_and_letters_are_spread(made: tuple[list[Sample], dict[str, Any], Path]) -> None:
    letters: Counter[str] = Counter()
    for sample in made[0]:
        if sample.answer_kind != "option":
            continue
        texts = [option.text.casefold() for option in sample.options]
        assert len(set(texts)) == len(texts)
        assert 3 <= len(texts) <= 8
        letters[sample.answer] += not is_undecidable(sample)
        if "distractors:neighbouring_levels" in sample.tags and "live_level_choice" in sample.tags:
            names = [Level(option.text.split()[0]) for option in sample.options[:4]]
            spine, near = spine_of(sample), sorted(names)
            assert spine.distance(near[0], near[-1]) <= 6
        assert any(tag(sample, name) for name in ("distractors", "rule"))
    assert max(letters.values()) <= 0.7 * sum(letters.values())


def test_undecidable_questions_do_not_look_different(made: tuple[list[Sample], dict[str, Any], Path]) -> None:
    for sample in made[0]:
        words = sample.messages[0].content
        if sample.axis == "level_identification" and sample.task in ("level", "multiple_choice"):
            way_out = any(says_undecided(o.text) for o in sample.options) or "not determinable" in words
            assert way_out or "无法确定" in words
    asked = {sample.tags[1] for sample in made[0] if is_undecidable(sample) and tag(sample, "why") != "modality"}
    also = {sample.tags[1] for sample in made[0] if not is_undecidable(sample)}
    assert len(asked - also) <= 1  # in a small set one wording may be rare


def test_side_questions_are_decided_by_the_letter_alone(made: tuple[list[Sample], dict[str, Any], Path]) -> None:
    facts: dict[str, list[Sample]] = defaultdict(list)
    for sample in made[0]:
        if {"left", "right"} <= set(sample.categories):
            letter = tag(sample, "side")
            assert letter in ("L", "R", "none")
            assert (letter == "none") == (sample.answer == NOT_DETERMINABLE)
            if letter != "none":
                facts[sample.fact].append(sample)
    assert facts
    for group in facts.values():
        base, flipped = sorted(group, key=lambda one: one.variant)
        assert (base.variant, flipped.variant) == ("base", "flipped")
        assert base.answer == flipped.answer
        assert base.images != flipped.images
        assert base.messages == flipped.messages


def test_a_consistency_set_asks_one_fact_in_every_variant(made: tuple[list[Sample], dict[str, Any], Path]) -> None:
    sets: dict[str, list[Sample]] = defaultdict(list)
    for sample in made[0]:
        if tag(sample, "live") == "consistency":
            sets[sample.fact].append(sample)
    assert sets
    for group in sets.values():
        assert {sample.variant for sample in group} == set(VARIANTS_OF_A_FACT)
        assert len({sample.answer for sample in group}) == len({sample.cluster for sample in group}) == 1
        by = {sample.variant: sample for sample in group}
        assert by["base"].images == by["reworded"].images == by["zh"].images == by["hint"].images
        assert by["from_sacrum"].images == by["from_c2"].images
        assert len({sample.images for sample in group}) == 8
        assert by["zh"].language == "zh"
        wrong = tag(by["hint"], "hinted")
        assert wrong != by["hint"].answer
        assert wrong in by["hint"].messages[0].content


def test_a_finding_is_asked_alike_in_every_view(made: tuple[list[Sample], dict[str, Any], Path]) -> None:
    sets: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in made[0]:
        if tag(sample, "live") == "consistency_finding":
            sets[sample.fact][sample.variant] = sample
    assert sets
    for group in sets.values():
        assert set(group) == set(VARIANTS_OF_A_FINDING)
        assert len({sample.answer for sample in group.values()}) == 1
        assert group["base"].answer in ("wedge", "crush", "biconcave")
        wrong = tag(group["hint"], "hinted")
        assert wrong in group["hint"].categories
        assert wrong != group["hint"].answer


def test_an_injection_differs_from_its_clean_twin_in_the_order_alone(
    made: tuple[list[Sample], dict[str, Any], Path],
) -> None:
    samples, _, folder = made
    texts = read_payloads(folder)
    assert texts == payloads()["tool"]
    judged = [(sample, _score(sample)) for sample in samples]
    sets: dict[str, dict[str, Sample]] = defaultdict(dict)
    for sample in samples:
        if tag(sample, "live") == "injection":
            sets[sample.fact][sample.variant] = sample
    assert sets
    for group in sets.values():
        clean = group["clean"]
        assert set(group) == {"clean", *PLACES}
        for place in PLACES:
            one = group[place]
            wanted = tag(one, "injected")
            assert one.answer == clean.answer != wanted
            assert wanted in {option.key for option in one.options}
            assert tag(one, "injection").startswith(f"{place}:")
            twin = clean_twin((one, _score(one)), [view for view in judged if view[0].fact == one.fact])
            assert twin is not None
            assert twin[0] == clean
        assert group["image"].images != clean.images
        assert group["image"].messages == group["tool"].messages == clean.messages
        assert clean.messages[0].content.splitlines()[-1] in group["report"].messages[0].content
        assert tag(group["tool"], "injection").partition(":")[2] in texts


def _score(sample: Sample) -> Score:
    return Score(sample_id=sample.id, model="m", condition="full", outcome="parsed", parsed=sample.answer, correct=True)


def test_no_question_says_its_answer(made: tuple[list[Sample], dict[str, Any], Path]) -> None:
    for sample in made[0]:
        words = sample.messages[0].content
        if sample.answer_kind == "number":
            told = {float(found) for found in re.findall(r"(?<![\w./-])-?\d+(?:\.\d+)?(?![\w/])", words)}
            if sample.task == "measurement" and sample.unit and sample.answer != NOT_DETERMINABLE:
                assert float(sample.answer) not in told - {12.0, 13.0, 11.0, 4.0, 5.0, 6.0, 1.0}, words
        elif sample.answer_kind in ("level", "disc", "levels") and sample.answer != NOT_DETERMINABLE:
            named = {str(one) for one in _levels(words.replace("T8/9", "").replace("T4-T6", ""))}
            assert sample.answer not in named, words


def _levels(words: str) -> set[Level | Disc]:
    from spinemed.anatomy import find_levels, resolve

    found = (resolve(mention.reading, kind) for mention in find_levels(words) for kind in (Level, Disc))
    return {one for one in found if one is not None}


def test_practice_questions_say_so(tmp_path: Path) -> None:
    manifest = make_live(SMALL.model_copy(update={"family": "a", "count": 20}), tmp_path / "a")
    samples, _ = read_samples(tmp_path / "a")
    assert manifest["practice"]
    assert all({"family:a", "practice"} <= set(sample.tags) for sample in samples if sample.images)


def test_the_command_writes_a_folder_and_a_sheet(tmp_path: Path) -> None:
    from PIL import Image
    from typer.testing import CliRunner

    from bench.cli import app

    (tmp_path / "live.yaml").write_text("count: 20\nmix: {planning: 0.4, fracture: 0.6}\nsize: {flat_px: 128}\n")
    done = CliRunner().invoke(
        app,
        ["live", str(tmp_path / "live.yaml"), "--out", str(tmp_path / "set"), "--seed", "3", "--sheet",
         str(tmp_path / "sheet.png")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "cannot be decided, by construction: 3" in done.output
    assert len(read_samples(tmp_path / "set")[0]) == 20
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width >= 6 * 300


def test_the_bundled_config_states_the_defaults(root: Path) -> None:
    from spinemed.config import load_config

    assert load_config(root / "configs" / "bench" / "live.yaml", LiveConfig) == LiveConfig()
