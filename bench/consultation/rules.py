"""What a physician's turn asks, states and declares, read by the patterns of `rules.yaml`.

Convention: a turn is cut into sentences. Only questions ask; only sentences that are neither questions nor conditions
state or advise. A bullet under a line that ends with a colon is a question where that line asks.

Trap: patterns know words, not meaning. What no pattern names was not asked, so a new way of asking belongs into
`rules.yaml`, whose hash stands in every result.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from importlib.resources import files
from typing import Literal

from pydantic import Field

from bench.extract.plain import plain_text
from spinemed.config import Config, load_config
from spinemed.records import content_hash

__all__ = ["URGENCIES", "Claim", "Rules", "Sentence", "Topic", "Urgency", "load_rules"]

Urgency = Literal["emergency", "urgent", "routine"]
URGENCIES: tuple[Urgency, ...] = ("emergency", "urgent", "routine")
"""Care within the hour; the same day up to three days; weeks."""
Claim = tuple[str, bool]
"""A topic, and whether it is stated as present."""

_CUT = re.compile(r"(?<=[?!？！。；;\n])|(?<=\.)(?=\s|$)")
_BULLET = re.compile(r"^\s*(?:[-*•·]|\d{1,2}[.)、])\s*")


class Topic(Config):
    """One thing that can be asked for."""

    group: str = ""
    """The red flag that it belongs to."""
    screen: bool = False
    """Whether it is asked of everybody."""
    yields_to: tuple[str, ...] = ()
    """Topics that a sentence asks for instead, where it names both."""
    en: tuple[str, ...]
    """Patterns that ask for it in English."""
    zh: tuple[str, ...]
    """Patterns that ask for it in Chinese."""
    absent: dict[str, str]
    """What a patient without it answers, by language."""
    claims: tuple[str, ...] = ()
    """Patterns by which a physician states it as present."""

    @cached_property
    def asked(self) -> re.Pattern[str]:
        """Finds what asks for it."""
        return _any(*self.en, *self.zh)

    @cached_property
    def claimed(self) -> re.Pattern[str] | None:
        """Finds a statement of it."""
        return _any(*self.claims) if self.claims else None


class _Declared(Config):
    declaration: str
    """Pattern of the line that declares an urgency."""
    words: dict[str, Urgency]
    """What each word in that line stands for."""


class Sentence(Config):
    """One sentence of a turn, and what kind it is."""

    text: str
    """As written."""
    question: bool
    """Whether it asks for something."""
    condition: bool
    """Whether it says what to do only if something happens."""


class Rules(Config):
    """The patient's rules and the scorer's; see `rules.yaml`."""

    open_questions: tuple[str, ...]
    """Patterns of questions without a topic, such as "anything else?"."""
    jargon: tuple[str, ...]
    """Patterns of words that a patient does not know."""
    say: dict[str, dict[str, str]]
    """What a patient answers beside the topics, by language and occasion."""
    topics: dict[str, Topic]
    """Everything that can be asked for, by name."""
    points: dict[Literal["facts", "red_flags", "urgency", "consistent"], float]
    """Share of the score for each part; they sum to 1."""
    most_a_turn: int = Field(ge=1)
    """Questions that a patient answers in one turn."""
    advice: tuple[str, ...]
    """Patterns of a sentence that tells what to do."""
    conditional: tuple[str, ...]
    """Patterns of a condition; a sentence under one is no advice."""
    question_starts: tuple[str, ...]
    """Patterns with which a question begins that has no question mark."""
    denials: tuple[str, ...]
    """Patterns before a finding that deny it."""
    attributes: tuple[str, ...]
    """Patterns by which a physician ascribes a finding to the patient."""
    urgency: _Declared
    """How the required line declares an urgency, and which words stand for which."""
    sides: dict[Literal["left", "right"], tuple[str, ...]]
    """Patterns that name the patient's side."""
    system: dict[str, str]
    """What the model under test is told first, by language."""

    @cached_property
    def sha256(self) -> str:
        """Hash of all rules."""
        return content_hash(self.model_dump(mode="json"))

    @cached_property
    def _patterns(self) -> dict[str, re.Pattern[str]]:
        names = ("open_questions", "jargon", "advice", "conditional", "question_starts", "denials", "attributes")
        return {name: _any(*getattr(self, name)) for name in names}

    def _has(self, name: str, text: str) -> bool:
        return self._patterns[name].search(text) is not None

    def sentences(self, turn: str) -> list[Sentence]:
        """A turn as sentences."""
        found: list[Sentence] = []
        asking = False
        for line in _heard(turn).splitlines():
            bullet = _BULLET.match(line) is not None
            plain = _BULLET.sub("", line).strip().strip("*").strip()
            if not plain:
                continue
            for part in filter(None, (piece.strip() for piece in _CUT.split(plain))):
                question = part.endswith(("?", "？")) or self._has("question_starts", part) or (bullet and asking)
                found.append(Sentence(text=part, question=question, condition=self._has("conditional", part)))
            if not bullet:
                asking = plain.endswith((":", "：")) and found[-1].question
        return found

    def topics_asked(self, turn: str) -> list[str]:
        """Topics that a turn asks for, in the order in which they come."""
        first: dict[str, tuple[int, int]] = {}
        for place, sentence in enumerate(self.sentences(turn)):
            if not sentence.question:
                continue
            hits = {name: topic.asked.search(sentence.text) for name, topic in self.topics.items()}
            for name, match in hits.items():
                taken = any(hits[other] for other in self.topics[name].yields_to)
                if match is not None and not taken and name not in first:
                    first[name] = (place, match.start())
        return sorted(first, key=lambda name: (*first[name], name))

    def asks_openly(self, turn: str) -> bool:
        """Whether a turn asks for whatever else there is."""
        return any(
            sentence.question and self._has("open_questions", sentence.text) for sentence in self.sentences(turn)
        )

    def uses_jargon(self, turn: str) -> bool:
        """Whether a turn asks in words that a patient does not know."""
        return any(sentence.question and self._has("jargon", sentence.text) for sentence in self.sentences(turn))

    def declared(self, turn: str) -> Urgency | None:
        """The urgency that a turn declares; None where it declares none, or several."""
        found = {
            self.urgency.words[match[1].lower()]
            for match in re.finditer(self.urgency.declaration, _heard(turn), re.IGNORECASE)
        }
        return found.pop() if len(found) == 1 else None

    def advises(self, turn: str) -> bool:
        """Whether a turn advises: it declares an urgency, or a plain sentence tells what to do."""
        if re.search(self.urgency.declaration, _heard(turn), re.IGNORECASE):
            return True
        return any(self._has("advice", text) for text in self._plain(turn))

    def claims(self, turn: str) -> list[Claim]:
        """What a turn states of the patient: topics with whether they are there. Bare mentions are none."""
        found: list[Claim] = []
        for text in self._plain(turn):
            for name, topic in self.topics.items():
                if topic.claimed is None:
                    continue
                for match in topic.claimed.finditer(text):
                    before = text[max(0, match.start() - 200) : match.start()]
                    if self._has("denials", before):
                        found.append((name, False))
                    elif self._has("attributes", before) or self._has("attributes", match[0]):
                        found.append((name, True))
        return found

    def sides_named(self, turn: str) -> set[str]:
        """Sides of the body that a turn states."""
        plain = self._plain(turn)
        return {side for side, patterns in self.sides.items() if any(_any(*patterns).search(text) for text in plain)}

    def _plain(self, turn: str) -> list[str]:
        return [one.text for one in self.sentences(turn) if not one.question and not one.condition]


def _heard(turn: str) -> str:
    """What a patient hears: the turn without reasoning and markup; nothing where the reasoning has no end."""
    return plain_text(turn) or ""


@cache
def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE)


@cache
def load_rules() -> Rules:
    """The bundled rules."""
    return load_config(str(files("bench.consultation").joinpath("rules.yaml")), Rules)
