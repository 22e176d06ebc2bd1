"""The criteria find what they say, and the reviser mends it without touching the draft."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from data_pipeline.config import ReviseConfig
from data_pipeline.corpus import read_corpus
from data_pipeline.criteria.apply import load_criteria, verify
from data_pipeline.criteria.checks import CHECKS, finding_supports_answer
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.drafting.texts import axis_of, first_sentence
from data_pipeline.items import Item, compose_turn
from data_pipeline.revise import _pool_of, pools_of, read_lookup, revise_drafts
from spinemed.errors import ConfigError
from spinemed.records import Evidence, Option


@pytest.fixture(scope="module")
def drafted(built: Path) -> tuple[list[Item], Lookup]:
    corpus = read_corpus(built / "outputs" / "corpus")
    return read_lookup(corpus, built / "outputs" / "drafts", 420)


def failing(item: Item, lookup: Lookup) -> set[str]:
    return {result.criterion for result in verify(item, lookup, load_criteria()) if not result.passed}


def revised(item: Item, lookup: Lookup, among: list[Item]) -> Item:
    """The revision of one draft, revised together with the others that wrong options are taken from."""
    kind = item.parts.template.split("_")[0]
    revision = revise_drafts([i for i in among if i.parts.template.startswith(kind)], lookup, ReviseConfig())
    return next(i for i in revision.items if i.instance.parent_id == item.instance.id)


def find(drafted: tuple[list[Item], Lookup], template: str, *words: str) -> Item:
    items, _ = drafted
    return next(
        item
        for item in items
        if item.parts.template == template and all(word in item.instance.messages[0].content for word in words)
    )


def test_a_passage_that_names_its_condition_is_hidden_in_the_revision_only(drafted) -> None:
    items, lookup = drafted
    draft = find(drafted, "condition_information", "A herniated disk is a disk that ruptures")
    assert "no_giveaway" in failing(draft, lookup)
    better = revised(draft, lookup, items)
    passage = better.parts.filled["passage"]
    assert passage.startswith("A [this condition] is a disk that ruptures")
    assert "herniated" not in passage.casefold()
    assert "herniated disk" in draft.parts.filled["passage"]
    quote = next(part.quote for part in better.instance.evidence if part.kind == "span")
    assert "herniated disk" in quote
    assert any("(no_giveaway)" in change for change in better.instance.changes)


def test_two_names_of_one_condition_are_never_offered_together(drafted, built: Path) -> None:
    items, lookup = drafted
    kept = revise_drafts(items, lookup, ReviseConfig()).items
    for item in kept:
        if item.parts.template.startswith("condition"):
            right = next(o.text for o in item.instance.options if o.key == item.instance.answer).casefold()
            for option in item.instance.options:
                if "scoliosis" in right and option.key != item.instance.answer:
                    assert "scoliosis" not in option.text.casefold()


def test_a_long_passage_is_cut_to_whole_sentences_and_its_quote_with_it(drafted) -> None:
    items, lookup = drafted
    long = next(
        item
        for item in items
        if item.parts.template.startswith("condition") and 700 < len(item.parts.filled["passage"]) < 1000
        if failing(item, lookup) <= {"no_giveaway", "passage_length", "options_alike", "options_exclusive"}
    )
    better = revised(long, lookup, items)
    passage = better.parts.filled["passage"]
    assert len(passage) <= 420
    assert passage[-1] in ".!?"
    quote = next(part.quote for part in better.instance.evidence if part.kind == "span")
    assert long.parts.filled["passage"].startswith(quote)


def test_planning_questions_say_research(drafted) -> None:
    items, lookup = drafted
    draft = find(drafted, "construct_stated", "L2")
    assert failing(draft, lookup) == {"research_use"}
    assert "Research exercise" in revised(draft, lookup, items).instance.messages[0].content


def test_a_blank_becomes_a_question(drafted) -> None:
    items, lookup = drafted
    draft = find(drafted, "exercise", "The cervical region of the vertebral column consists of")
    assert "question_mark" in failing(draft, lookup)
    assert "Which choice completes this sentence" in revised(draft, lookup, items).instance.messages[0].content


def with_answer(item: Item, answer: str) -> Item:
    messages = (*item.instance.messages[:-1], item.instance.messages[-1].model_copy(update={"content": answer}))
    return Item(item.instance.model_copy(update={"answer": answer, "messages": messages}), item.parts)


def test_a_wrong_level_is_found(drafted) -> None:
    items, lookup = drafted
    item = next(i for i in items if i.parts.template == "marked_vertebra" and i.instance.answer.startswith("L"))
    assert not failing(item, lookup)
    assert "finding_supports_answer" in failing(with_answer(item, "T9"), lookup)
    assert "numbering_needs_anchor" in failing(with_answer(item, "not determinable"), lookup)


def test_the_next_vertebra_with_a_name_is_not_accepted_as_the_edge(drafted) -> None:
    items, lookup = drafted
    item = next(i for i in items if i.parts.template == "marked_vertebra" and i.instance.levels)
    study = lookup.study(item)
    assert study is not None
    seen = [n for n, mark in enumerate(study.marks) if mark.fully_visible]
    parts = item.parts.model_copy(update={"template": "edge_vertebra", "values": '{"edge": "lowest"}'})
    lowest = study.marks[seen[-1]].level
    assert lowest is not None
    assert finding_supports_answer(Item(with_answer(item, lowest.value).instance, parts), lookup) == ""
    marks = list(study.marks)
    marks[seen[-1]] = marks[seen[-1]].model_copy(update={"level": None})
    unnamed = study.model_copy(update={"marks": tuple(marks)})
    corpus = replace(lookup.corpus, studies={**lookup.corpus.studies, study.id: unnamed})
    next_one = study.marks[seen[-2]].level
    assert next_one is not None
    claimed = Item(with_answer(item, next_one.value).instance, parts)
    assert finding_supports_answer(claimed, replace(lookup, corpus=corpus)) == "the record says None"


def test_captions_of_one_source_never_become_options_of_another(drafted) -> None:
    items, _ = drafted
    figures = [item for item in items if item.parts.template == "figure_caption"]
    other = [
        Item(
            item.instance.model_copy(
                update={
                    "source_id": "other",
                    "options": tuple(o.model_copy(update={"text": f"Foreign {o.text}"}) for o in item.instance.options),
                }
            ),
            item.parts,
        )
        for item in figures
    ]
    pool = pools_of([*figures, *other])[_pool_of(figures[0])]
    assert pool
    assert not [text for text in pool if text.startswith("Foreign")]


def test_a_level_without_an_anchor_is_found(drafted) -> None:
    items, lookup = drafted
    item = next(i for i in items if i.instance.source_id == "ct" and i.parts.template == "marked_vertebra")
    assert item.instance.answer == "not determinable"
    assert "numbering_needs_anchor" in failing(with_answer(item, "L3"), lookup)


def test_a_mark_elsewhere_is_found(drafted) -> None:
    items, lookup = drafted
    item = next(i for i in items if i.parts.template == "marked_vertebra" and i.instance.levels)
    other = next(
        i
        for i in items
        if i.parts.template == "marked_vertebra"
        and i.instance.group_id == item.instance.group_id
        and i.instance.levels
        and i.instance.levels != item.instance.levels
    )
    moved = Item(item.instance.model_copy(update={"image_sha256": other.instance.image_sha256}), item.parts)
    assert "mark_on_target" in failing(moved, lookup)


def test_a_wrong_construct_is_found(drafted) -> None:
    items, lookup = drafted
    item = next(i for i in items if i.parts.template == "construct_stated")
    assert "construct_follows_rule" in failing(with_answer(item, "L1-L5"), lookup)


def test_a_quote_that_is_not_there_is_found(drafted) -> None:
    _, lookup = drafted
    item = find(drafted, "condition_information", "A herniated disk is a disk that ruptures")
    evidence = tuple(
        Evidence(**{**part.model_dump(), "quote": "Disks never rupture."}) if part.kind == "span" else part
        for part in item.instance.evidence
    )
    changed = Item(item.instance.model_copy(update={"evidence": evidence}), item.parts)
    assert {"quote_in_document", "passage_from_quote"} <= failing(changed, lookup)


def test_an_identifier_is_found(drafted) -> None:
    _, lookup = drafted
    item = find(drafted, "construct_stated", "L2")
    for text in ("MRN 12345", "seen on 12/03/2021", "call +49 89 1234 5678", "Mrs. Miller"):
        options = (Option(key="A", text=text),)
        messages = compose_turn(item.parts, lookup.templates[item.parts.template], options, "A", images=0)
        changed = Item(item.instance.model_copy(update={"messages": messages}), item.parts)
        assert "no_identifiers" in failing(changed, lookup)


def test_every_criterion_is_a_sentence_with_a_check_and_every_check_is_used() -> None:
    criteria = load_criteria()
    assert {criterion.check for criterion in criteria.values()} == set(CHECKS)
    assert all(criterion.sentence.endswith(".") for criterion in criteria.values())
    assert list(load_criteria(whole_set=True)) == ["letters_balanced"]


def test_a_criterion_without_a_check_is_refused(tmp_path: Path) -> None:
    rule = {"id": "kind", "sentence": "Be kind.", "check": "kindness", "on_failure": "drop"}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump([rule]))
    with pytest.raises(ConfigError, match="unknown check 'kindness'"):
        load_criteria(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kyphosis: excessive curvature of the thoracic spine", "pathology"),
        ("atlas: first cervical (C1) vertebra", "level_identification"),
        ("abduction: movement away from the midline", None),
    ],
)
def test_axis_of_an_anatomical_text(text: str, expected: str | None) -> None:
    assert axis_of(text) == expected


def test_first_sentence_drops_the_panel_letter() -> None:
    assert first_sentence("(a) Scoliosis is lateral. (b) Kyphosis is not.") == "Scoliosis is lateral."
    assert first_sentence("The C1 vertebra (atlas) carries the skull") == "The C1 vertebra (atlas) carries the skull"


def test_image_placeholder_in_a_source_text_is_made_harmless(
    tmp_path: Path, entries, write_config, run_build, samples: Path
) -> None:
    folder = tmp_path / "medquad"
    folder.mkdir()
    for name in ("4_MPlus_Health_Topics_QA_0000078", "4_MPlus_Health_Topics_QA_0000841", "6_NINDS_QA_0000170"):
        text = (samples / "text" / "medquad" / f"{name}.xml").read_text()
        text = text.replace("Most back pain goes away", "Most &lt;image&gt; back pain goes away")
        (folder / f"{name}.xml").write_text(text)
    run = run_build(write_config(tmp_path, [{**entries["medquad"], "path": str(folder)}]), tmp_path / "run")
    _, lookup = read_lookup(read_corpus(run / "outputs" / "corpus"), run / "outputs" / "drafts", 420)
    items, _ = read_lookup(lookup.corpus, run / "outputs" / "drafts", 420)
    turns = [item.instance.messages[0].content for item in items]
    assert any("< image >" in turn for turn in turns)
    assert not any("<image>" in turn for turn in turns)
