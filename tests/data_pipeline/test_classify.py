"""Texts are filed under what they are about, in both languages; what they deny is not what they are about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from data_pipeline.negation import denied_spans
from data_pipeline.unique.classify import Classes, Classifier, ask_model, count_classes, load_vocabulary
from spinemed.anatomy import Level
from spinemed.chat import LOCAL, ChatRequest
from spinemed.chat.reply import Reply
from spinemed.errors import ConfigError


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier()


def labelled(part: str) -> list[tuple[set[str], set[str], str]]:
    """Conditions, sub-fields and text of each sentence."""
    rows = []
    for line in (Path(__file__).parent / "planted" / "classes.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{part}\t"):
            _, conditions, subfields, text = line.split("\t")
            rows.append(({*filter(None, conditions.split(","))}, {*filter(None, subfields.split(","))}, text))
    return rows


@pytest.mark.parametrize(("part", "least", "rows"), [("seen", 1.0, 52), ("fresh", 0.92, 55)])
def test_sentences_labelled_by_hand(classifier: Classifier, part: str, least: float, rows: int) -> None:
    found = labelled(part)
    assert len(found) == rows
    right = {"conditions": 0, "subfields": 0}
    for conditions, subfields, text in found:
        classes = classifier.classify([text])
        hits = (set(classes.conditions) == conditions, set(classes.subfields) == subfields)
        right["conditions"] += hits[0]
        right["subfields"] += hits[1]
        if not all(hits):
            print(f"{text} | {conditions} {subfields} | {classes.conditions} {classes.subfields}")
    print(f"{part}: {right} of {rows} sentences have exactly their entries")
    assert min(right.values()) / rows >= least


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("No vertebral fracture.", True),
        ("There is no evidence of a recent or old vertebral fracture.", True),
        ("No dislocation, subluxation or vertebral fracture.", True),
        ("The scan is negative for vertebral fracture.", True),
        ("Vertebral fracture was excluded.", True),
        ("A vertebral fracture is not seen.", True),
        ("She hasn't had a vertebral fracture.", True),
        ("Neither infection nor vertebral fracture.", True),
        ("No infection, acute vertebral fracture at L1.", False),
        ("No infection but a vertebral fracture.", False),
        ("A vertebral fracture cannot be excluded.", False),
        ("No change of the vertebral fracture.", False),
        ("Not only pain: a vertebral fracture.", False),
        ("The vertebral fracture shows no retropulsion.", False),
        ("Without treatment a vertebral fracture may progress.", False),
        ("未见椎体骨折。", True),
        ("未见明显脱位、椎体骨折。", True),
        ("椎体骨折未见。", True),
        ("已排除椎体骨折。", True),
        ("否认椎体骨折史。", True),
        ("未见感染，椎体骨折明确。", False),
        ("不能排除椎体骨折。", False),
        ("椎体骨折较前无变化。", False),
        ("无痛性椎体骨折。", False),
    ],
)
def test_denial(classifier: Classifier, text: str, denied: bool) -> None:
    classes = classifier.classify([text])
    assert ("VERT_FX" in classes.conditions, "VERT_FX" in classes.denied) == (not denied, denied)


def test_a_denial_ends_with_its_sentence_and_its_text() -> None:
    text = "No fracture. Stenosis is severe"
    assert [text[start:end] for start, end in denied_spans(text)] == [" fracture"]
    assert Classifier().classify(["Which is it, no fracture", "vertebral fracture"]).conditions == ("VERT_FX",)


def test_what_nothing_fits_is_unclassified_and_counted(classifier: Classifier) -> None:
    rows = [classifier.classify([text]) for text in ("Insulin lowers glucose.", "L4/5 disc herniation", "没有症状")]
    assert rows[0].tags == ("condition:unclassified", "subfield:unclassified")
    assert rows[1].tags == ("condition:HERN_DISC", "subfield:SPINE")
    assert count_classes(rows) == {
        "conditions": {"HERN_DISC": 1, "unclassified": 2}, "subfields": {"SPINE": 1, "unclassified": 2}, "denied": {},
    }  # fmt: skip


def test_the_vocabulary_holds_what_was_announced(classifier: Classifier) -> None:
    vocabulary = classifier.vocabulary
    assert (len(vocabulary.conditions), len(vocabulary.subfields)) == (14, 7)
    assert classifier.classify([f"{Level.L4.value} is marked."]).subfields == ("SPINE",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("subfields: [SPINE]", "subfields: [SPIN]", 1), "'SPIN', which does not exist"),
        (lambda text: text.replace("id: STENOSIS", "id: TUMOR"), "'TUMOR' stands twice"),
        (lambda text: text.replace("- 'sciatica'", "- 'sciatica('"), "is no regular expression"),
        (
            lambda text: text.replace("    en:", "    english:", 1).replace("  en:", "  english:", 1),
            "no list of entries",
        ),
    ],
)
def test_a_vocabulary_that_is_wrong_is_refused(
    tmp_path: Path, root: Path, change: Callable[[str], str], message: str
) -> None:
    for name in ("subfields", "conditions"):
        text = (root / "configs" / "vocabulary" / f"{name}.yaml").read_text(encoding="utf-8")
        (tmp_path / f"{name}.yaml").write_text(change(text) if name == "conditions" else text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_vocabulary(tmp_path)


class ScriptedChat:
    """Answers by what stands in the text."""

    model, identity = "scripted", {"name": "scripted"}

    def __init__(self) -> None:
        self.asked: list[ChatRequest] = []

    def ask(
        self, requests: Iterable[ChatRequest], advance: Callable[[int], None] = lambda number: None
    ) -> Iterator[Reply]:
        for request in requests:
            self.asked.append(request)
            said = request.messages[1].content
            filed = {"subfields": ["SPINE"], "conditions": ["TUMOR", "INFECTION"]} if "lump" in said else {}
            filed = filed or {"subfields": [], "conditions": ["GOUT"] if "toe" in said else []}
            assert request.schema is not None
            value, fault = request.schema.check(json.dumps(filed))
            if value is None:
                yield Reply("k", "quarantined", reason="wrong_schema", detail=fault)
            else:
                yield Reply("k", "answered", value=value)


def test_a_model_is_asked_in_a_closed_schema_and_may_leave_all_empty() -> None:
    chat = ScriptedChat()
    texts = [("a", "a lump beside the back"), ("b", "a red toe"), ("c", "nothing </text> at all"), ("d", "x" * 6001)]
    vocabulary = load_vocabulary()
    found = {
        name: (classes, why) for name, classes, why in ask_model(chat, ((n, [t], LOCAL) for n, t in texts), vocabulary)
    }
    assert found["a"] == (Classes(subfields=("SPINE",), conditions=("INFECTION", "TUMOR")), "")
    assert found["b"] == (Classes(), "quarantined: wrong_schema")
    assert found["c"] == (Classes(), "nothing fits")
    assert found["d"] == (Classes(), "too long to ask")
    assert len(chat.asked) == 3
    assert all(entry.id in chat.asked[0].messages[0].content for entry in vocabulary.conditions)
    assert chat.asked[2].messages[1].content.count("</text>") == 1
