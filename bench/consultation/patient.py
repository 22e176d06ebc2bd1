"""A patient by rule: tells a fact when it is asked for, says no truthfully to the rest, and volunteers nothing.

Convention: the same case and the same questions always get the same words, so that a transcript can be replayed by the
scorer. At most `most_a_turn` things are answered in one turn, in the order in which they were asked.

Trap: a hidden fact is told to a question that names its topic and to no other; "anything else?" does not bring it.
"""

from __future__ import annotations

from bench.consultation.rules import Rules
from spinemed.records import CaseFact, Sample

__all__ = ["Patient"]


class Patient:
    """One case in conversation.

    Args:
        sample: A consultation with its facts.
        rules: What asks for what.
    """

    def __init__(self, sample: Sample, rules: Rules) -> None:
        self.rules = rules
        self.language = sample.language or "en"
        self.told: list[str] = []
        """Ids of the facts told so far, in order."""
        self._by_topic: dict[str, list[CaseFact]] = {}
        for fact in sample.facts:
            if fact.topic:
                self._by_topic.setdefault(fact.topic, []).append(fact)

    def reply(self, turn: str) -> str:
        """The patient's words after a turn of the physician."""
        asked = self.rules.topics_asked(turn)
        say = self.rules.say[self.language]
        if not asked:
            if self.rules.asks_openly(turn):
                return self._next_open() or say["told"]
            return say["jargon"] if self.rules.uses_jargon(turn) else say["nothing"]
        words = [self._answer(topic) for topic in asked[: self.rules.most_a_turn]]
        if len(asked) > self.rules.most_a_turn:
            words.append(say["many"])
        return (" " if self.language == "en" else "").join(dict.fromkeys(words))

    def _answer(self, topic: str) -> str:
        facts = self._by_topic.get(topic)
        if not facts:
            return self.rules.topics[topic].absent[self.language]
        return " ".join(self._tell(fact) for fact in facts)

    def _next_open(self) -> str | None:
        for facts in self._by_topic.values():
            for fact in facts:
                if fact.id not in self.told and not fact.hidden and fact.kind != "history":
                    return self._tell(fact)
        return None

    def _tell(self, fact: CaseFact) -> str:
        if fact.id not in self.told:
            self.told.append(fact.id)
        return fact.text_zh if self.language == "zh" else fact.text
