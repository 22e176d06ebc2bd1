"""Instructions filed under 7 orthopaedic sub-fields and 14 spine conditions: a closed vocabulary, in `configs/`.

Convention: rules first. A condition is found where one of its patterns, English or Chinese, stands in the text outside
what is denied (:mod:`data_pipeline.negation`); it brings its sub-fields with it. A text may have several, and where
nothing fits it stays `unclassified`, which is counted and never guessed. A language model may be asked about those
alone, in a schema that knows no other ids.

Trap: give it the question and the right answer. Wrong options name the conditions that an item is *not* about.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import _parser  # type: ignore[attr-defined]
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from data_pipeline.negation import denied_spans
from data_pipeline.writers.prompts import data_field
from spinemed.chat import Chat, ChatRequest, Decoding, Egress, Schema
from spinemed.config import Config
from spinemed.errors import ConfigError
from spinemed.records import Message, Record
from spinemed.resources import configs_dir

__all__ = [
    "CLASSIFY_PROMPT",
    "UNCLASSIFIED",
    "Classes",
    "Classifier",
    "Vocabulary",
    "ask_model",
    "count_classes",
    "load_vocabulary",
]

UNCLASSIFIED = "unclassified"
CLASSIFY_PROMPT = Path(__file__).parents[1] / "prompts" / "classify" / "classify.md"
_START = 4
"""Letters of a hint that are looked up at once."""
_CHARACTERS = 6000
"""Of a text that a model is shown; longer ones are not asked about."""


class Entry(Config):
    """One sub-field or condition."""

    id: str
    """As it stands in rows and tags."""
    en: str
    """Name in English."""
    zh: str
    """Name in Chinese."""
    icd10: tuple[str, ...] = ()
    """Families of ICD-10-CM codes, for readers; nothing is coded by them."""
    subfields: tuple[str, ...] = ()
    """Of a condition: the sub-fields that follow from it."""
    words: tuple[str, ...] = ()
    """English patterns, any case."""
    exact: tuple[str, ...] = ()
    """English abbreviations, case as written."""
    zh_words: tuple[str, ...] = ()
    """Chinese patterns."""
    near_spine: tuple[str, ...] = ()
    """Patterns that count only in a text that also speaks of the spine."""


@dataclass(frozen=True)
class _Pattern:
    """One pattern, and what tells quickly that it stands nowhere in a text."""

    regex: re.Pattern[str]
    hints: tuple[str, ...]
    """Words of which one stands, in lower case, in every text that it matches; none where that cannot be said."""
    near_spine: bool


@dataclass(frozen=True, eq=False)
class _Rule:
    """An entry with its patterns."""

    entry: Entry
    patterns: tuple[_Pattern, ...]


class _Finder:
    """Which patterns can stand in a text at all: of 400, a few. Two texts share a hint only if they share its start."""

    def __init__(self, patterns: Iterable[_Pattern]) -> None:
        self.always: list[int] = []
        self.short: list[tuple[str, int]] = []
        self.by_start: dict[str, list[tuple[str, int]]] = {}
        for pattern in patterns:
            if not pattern.hints:
                self.always.append(id(pattern))
            for hint in pattern.hints:
                if len(hint) < _START:
                    self.short.append((hint, id(pattern)))
                else:
                    self.by_start.setdefault(hint[:_START], []).append((hint, id(pattern)))
        self.starts = frozenset(self.by_start)

    def possible(self, text: str) -> set[int]:
        """Identities of the patterns that may stand in a text."""
        lower = text.lower()
        found = {key for hint, key in self.short if hint in lower}
        found.update(self.always)
        for start in self.starts & {lower[at : at + _START] for at in range(len(lower) - _START + 1)}:
            found.update(key for hint, key in self.by_start[start] if hint in lower)
        return found


@dataclass(frozen=True)
class Vocabulary:
    """Both lists."""

    conditions: tuple[Entry, ...]
    subfields: tuple[Entry, ...]
    sha256: str
    """Hash of both files."""


class Classes(Record):
    """What a text is about. Empty where nothing fits."""

    subfields: tuple[str, ...] = ()
    """Sub-fields, of the vocabulary."""
    conditions: tuple[str, ...] = ()
    """Conditions, of the vocabulary."""
    denied: tuple[str, ...] = ()
    """Conditions that the text names only to deny them."""

    @property
    def tags(self) -> tuple[str, ...]:
        """As tags of an instance: `condition:STENOSIS`, `subfield:SPINE`, or `condition:unclassified`."""
        return (
            *(f"condition:{name}" for name in self.conditions or (UNCLASSIFIED,)),
            *(f"subfield:{name}" for name in self.subfields or (UNCLASSIFIED,)),
        )


def load_vocabulary(folder: Path | None = None) -> Vocabulary:
    """Read `conditions.yaml` and `subfields.yaml`.

    Args:
        folder: Where they lie; the bundled ones unless given.

    Raises:
        ConfigError: A file is no list of entries, an id stands twice, a pattern is no regular expression, or a
            condition names a sub-field that does not exist.
    """
    root = configs_dir() / "vocabulary" if folder is None else folder
    digest = hashlib.sha256()
    lists = {}
    for name in ("subfields", "conditions"):
        file = root / f"{name}.yaml"
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"cannot be read ({error.strerror})", file=file, cure="give a vocabulary folder"
            ) from error
        digest.update(data)
        lists[name] = _entries(file, data)
    known = {entry.id for entry in lists["subfields"]}
    for entry in lists["conditions"]:
        strangers = sorted(set(entry.subfields) - known)
        if strangers:
            raise ConfigError(
                f"names the sub-field '{strangers[0]}', which does not exist",
                file=root / "conditions.yaml", field=f"{entry.id}.subfields", cure=f"use {', '.join(sorted(known))}",
            )  # fmt: skip
    return Vocabulary(lists["conditions"], lists["subfields"], digest.hexdigest())


def _entries(file: Path, data: bytes) -> tuple[Entry, ...]:
    try:
        rows = yaml.safe_load(data)
        entries = tuple(Entry.model_validate(row) for row in rows)
    except (yaml.YAMLError, ValidationError, TypeError, AttributeError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"is no list of entries ({first})", file=file, cure="see the bundled file") from error
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise ConfigError(f"'{entry.id}' stands twice", file=file, field="id", cure="rename one")
        seen.add(entry.id)
        for pattern in (*entry.words, *entry.exact, *entry.zh_words, *entry.near_spine):
            try:
                if pattern.count("{") != pattern.count("}"):
                    raise re.error("a brace stands alone; quote the pattern, YAML parts a list at its commas")
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(
                    f"'{pattern}' is no regular expression ({error})", file=file, field=entry.id, cure="mend it"
                ) from error
    return entries


class Classifier:
    """The rules.

    Args:
        vocabulary: Both lists; the bundled ones unless given.
    """

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        self.vocabulary = vocabulary or load_vocabulary()
        self._conditions = [_rule(entry) for entry in self.vocabulary.conditions]
        self._subfields = [_rule(entry) for entry in self.vocabulary.subfields]
        self._spine = next((rule for rule in self._subfields if rule.entry.id == "SPINE"), None)
        rules = (*self._conditions, *self._subfields)
        self._finder = _Finder(pattern for rule in rules for pattern in rule.patterns)

    def classify(self, texts: Sequence[str]) -> Classes:
        """The classes of one item.

        Args:
            texts: Its question, its right answer, the title of its document: whatever says what it is about. A
                denial ends with the text it stands in.
        """
        said = "\n".join(texts)
        possible = self._finder.possible(said)
        near = self._spine is not None and next(_places(self._spine, said, possible, False), None) is not None
        conditions = {rule.entry.id: list(_places(rule, said, possible, near)) for rule in self._conditions}
        subfields = {rule.entry.id: list(_places(rule, said, possible, near)) for rule in self._subfields}
        denial_matters = any(conditions.values()) or any(p for name, p in subfields.items() if name != "SPINE")
        denied = denied_spans(said) if denial_matters else []

        def stated(places: Sequence[int]) -> bool:
            return any(not _inside(place, denied) for place in places)

        found = [name for name, places in conditions.items() if stated(places)]
        brought = {name for rule in self._conditions if rule.entry.id in found for name in rule.entry.subfields}
        return Classes(
            # Where the spine is spoken of, it is the subject, also where something is denied of it.
            subfields=tuple(
                name
                for name, places in subfields.items()
                if name in brought or (bool(places) if name == "SPINE" else stated(places))
            ),
            conditions=tuple(found),
            denied=tuple(name for name, places in conditions.items() if places and name not in found),
        )


def _places(rule: _Rule, text: str, possible: Container[int], near_spine: bool) -> Iterator[int]:
    """Where an entry is named: the last character of each mention, which lies in a denial if the mention does."""
    for pattern in rule.patterns:
        if id(pattern) in possible and (near_spine or not pattern.near_spine):
            yield from (match.end() - 1 for match in pattern.regex.finditer(text))


def _rule(entry: Entry) -> _Rule:
    found = [(rf"(?i:\b(?:{pattern})\b)", False) for pattern in entry.words]
    found += [(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", False) for pattern in entry.exact]
    found += [(f"(?:{pattern})", False) for pattern in entry.zh_words]
    found += [(rf"(?i:\b(?:{p})\b)" if p.isascii() else f"(?:{p})", True) for p in entry.near_spine]
    return _Rule(entry, tuple(_Pattern(re.compile(regex), _hints(regex), near) for regex, near in found))


def _hints(regex: str) -> tuple[str, ...]:
    """Literal stretches of a pattern of which one must stand in whatever it matches, in lower case."""
    found = _literals(_parser.parse(regex))
    return tuple(sorted({hint.lower() for hint in found})) if all(found) else ()


def _literals(parsed: Any) -> list[str]:
    """The most telling of the stretches that stand one after another: one text, or one for each of several branches."""
    best: list[str] = []
    run = ""

    def offer(some: list[str]) -> None:
        nonlocal best
        if some and min(map(len, some)) > (min(map(len, best)) if best else 0):
            best = some

    for code, value in parsed:
        if str(code) == "LITERAL":
            run += chr(value)
            continue
        offer([run] if run else [])
        run = ""
        if str(code) == "SUBPATTERN":
            offer(_literals(value[3]))
        elif str(code) == "BRANCH":
            branches = [_literals(branch) for branch in value[1]]
            offer([hint for branch in branches for hint in branch] if all(branches) else [])
        elif str(code) in ("MAX_REPEAT", "MIN_REPEAT") and value[0] >= 1:
            offer(_literals(value[2]))
    offer([run] if run else [])
    return best


def _inside(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)


def count_classes(rows: Iterable[Classes]) -> dict[str, dict[str, int]]:
    """How many items each entry has; `unclassified` among them. An item with two conditions counts for both."""
    counts: dict[str, Counter[str]] = {"conditions": Counter(), "subfields": Counter(), "denied": Counter()}
    for row in rows:
        counts["conditions"].update(row.conditions or (UNCLASSIFIED,))
        counts["subfields"].update(row.subfields or (UNCLASSIFIED,))
        counts["denied"].update(row.denied)
    return {name: dict(sorted(found.items())) for name, found in counts.items()}


# --- a model, where the rules find nothing ---------------------------------------------------------------------------


@functools.cache
def _prompt() -> tuple[str, str]:
    """System and user part of the prompt file."""
    parts = re.fullmatch(
        r"---\n.*?\n---\n# system\n(.*?)\n# user\n(.*)", CLASSIFY_PROMPT.read_text(encoding="utf-8"), re.DOTALL
    )
    if parts is None:
        raise ConfigError("has no `# system` and `# user`", file=CLASSIFY_PROMPT, cure="restore it")
    return parts[1].strip(), parts[2].strip()


def _schema(vocabulary: Vocabulary) -> Schema:
    """A schema whose lists can hold the vocabulary's ids and nothing else."""
    fields: dict[str, Any] = {}
    for name in ("subfields", "conditions"):
        ids = tuple(entry.id for entry in getattr(vocabulary, name))
        fields[name] = (Annotated[list[Literal[ids]], Field(max_length=len(ids))], ...)  # type: ignore[valid-type]
    model: type[BaseModel] = create_model("Filed", __config__=ConfigDict(extra="forbid", frozen=True), **fields)
    return Schema(model)


def ask_model(
    chat: Chat, items: Iterable[tuple[str, Sequence[str], Egress]], vocabulary: Vocabulary, *, seed: int | None = 0
) -> Iterator[tuple[str, Classes, str]]:
    """Ask a language model about items that the rules leave unclassified.

    Args:
        chat: The client.
        items: Id, texts, and where the texts may be sent.
        vocabulary: The closed lists.
        seed: Of the model's draws.

    Yields:
        Id, classes, and why there are none: empty when the model took at least one entry, `nothing fits`,
        `too long to ask`, or the reason why its reply was not accepted.
    """
    schema, (system, user) = _schema(vocabulary), _prompt()
    for name in ("subfields", "conditions"):
        lines = [f"- `{entry.id}`: {entry.en} ({entry.zh})" for entry in getattr(vocabulary, name)]
        system = system.replace(f"{{{{{name}}}}}", "\n".join(lines))
    listed = list(items)
    short = [item for item in listed if sum(map(len, item[1])) <= _CHARACTERS]
    requests = (
        ChatRequest(
            (
                Message(role="system", content=system),
                Message(role="user", content=user.replace("{{text}}", data_field(list(texts)))),
            ),
            (),
            Decoding(max_tokens=400, seed=seed),
            schema,
            egress,
            f"classify {name}",
        )
        for name, texts, egress in short
    )
    answered: dict[str, tuple[Classes, str]] = {}
    for (name, _, _), reply in zip(short, chat.ask(requests)):
        if reply.value is None:
            answered[name] = (Classes(), f"{reply.outcome}: {reply.reason}")
            continue
        value = reply.value.model_dump()
        ordered = {
            part: tuple(entry.id for entry in getattr(vocabulary, part) if entry.id in value[part])
            for part in ("subfields", "conditions")
        }
        classes = Classes(**ordered)
        answered[name] = (classes, "" if classes.subfields or classes.conditions else "nothing fits")
    for name, _, _ in listed:
        yield (name, *answered.get(name, (Classes(), "too long to ask")))
