"""Records that stay inside this package: what travels between its own stages.

Convention: everything that other packages read is in `spinemed/records/`; these only keep the road from a
released row back to bytes.

Trap: the user turn of an instance is always composed from its :class:`Parts`; editing a message by hand breaks the
trace, and the check `passage_from_quote` will say so.
"""

from __future__ import annotations

import functools
import json
from typing import Literal

from spinemed.records import Record, Sha256

__all__ = ["Derivation", "DraftSlip", "Exchange", "FigureDecision", "FigurePair", "Parts", "Ties", "WorkSlip"]


class Derivation(Record):
    """How a picture was made from another: a mark drawn on a study, or a figure fitted into a square."""

    sha256: Sha256
    """Hash of the resulting PNG."""
    from_sha256: Sha256
    """Hash of the picture it was made from."""
    owner_id: str
    """The study or figure whose picture that is."""
    operation: Literal["mark", "fit"]
    """A mark drawn, or the picture fitted into a square."""
    parameters: str
    """JSON: the mark as drawn, or the longest edge."""


class Parts(Record):
    """The pieces that the user turn of one instance is composed of."""

    instance_id: str
    """The instance."""
    template: str
    """Name of the template."""
    wording: int
    """Which of its wordings, from 0."""
    values: str
    """JSON: what fills the template, the passage among it."""
    note: str = ""
    """A sentence added after the question."""

    @property
    def filled(self) -> dict[str, str]:
        """The values as a dict."""
        return dict(_filled(self.values))


class FigurePair(Record):
    """A picture on a page and the caption it was given, sure or not. Written as `corpus/figure_pairs.parquet`."""

    figure_id: str
    """Id of the figure it is, or becomes once it is approved."""
    document_id: str
    """The document that shows it."""
    caption_span_id: str
    """The caption that it was given."""
    mention_span_ids: tuple[str, ...] = ()
    """Spans of the text that refer to it."""
    image_sha256: Sha256
    """Hash of the picture."""
    label: str = ""
    """As printed, e.g. `Figure 2`."""
    page: int
    """Page of the picture, from 1."""
    box: tuple[float, ...]
    """Of the picture: left, bottom, right, top in points from the page's lower left corner."""
    caption_box: tuple[float, ...]
    """The same of the caption."""
    place: Literal["below", "above", "beside", "next page", "page before"]
    """Where the caption stands; the next column counts as the next page."""
    shared: bool
    """Whether another figure has the same caption."""
    score: float
    """From 0 to 1: how sure the pair is."""
    parts: str
    """JSON: what the score is the product of."""
    reason: str
    """Why it is doubted, worst first; empty where it is not."""
    queue: bool
    """It waits for a person, and no item is made of it."""
    decision: Literal["", "by score", "approve", "reject"] = ""
    """Who let it pass or not: its score, or a person."""


class FigureDecision(Record):
    """One line of a source's `figure_approvals.jsonl`: what a person says of a waiting pair."""

    figure_id: str
    """The pair that was looked at."""
    caption_span_id: str
    """Its caption when it was looked at."""
    decision: Literal["approve", "reject"]
    """What the person decided."""
    reviewer: str
    """Pseudonym of the person."""
    reason: str = ""
    """In the person's words."""


@functools.lru_cache(maxsize=64)
def _filled(values: str) -> dict[str, str]:
    # Every check of an item asks for them, one item after another.
    return {str(key): str(value) for key, value in json.loads(values).items()}


class Exchange(Record):
    """One request to a language model: what was asked with, and what it took. The words are in the request log."""

    about: str
    """The planned draft, or the id of the draft that was revised."""
    stage: Literal["draft", "revise"]
    """Writing, or mending."""
    prompt: str
    """Name and version of the prompt file."""
    prompt_sha256: Sha256
    """Hash of the prompt file."""
    model: str
    """Name of the model."""
    identity: str
    """JSON: what the replies depend on besides the request."""
    seed: int | None
    """Sent with the request; None where the server takes none."""
    request_keys: tuple[str, ...]
    """Hashes of the requests, repair turn included: where the log holds them."""
    outcome: Literal["answered", "quarantined", "failed"]
    """What became of it."""
    reason: str = ""
    """Why it failed or was set aside."""
    repaired_from: str = ""
    """What was wrong with the first reply, where a second was asked for."""
    prompt_tokens: int
    """Tokens that were sent."""
    completion_tokens: int
    """Tokens that came back."""
    money: float
    """What it cost, in the currency of the budget."""


class DraftSlip(Record):
    """What the whole set must know of one draft: is it a twin, and which criteria does it fail."""

    id: str
    """The draft."""
    source_id: str
    """Source of its evidence."""
    twin_key: Sha256
    """Hash of question and pictures."""
    applied: tuple[str, ...] = ()
    """Criteria that say something about it."""
    failed: tuple[str, ...] = ()
    """Of these, those that do not hold."""


class WorkSlip(Record):
    """What the whole set must know of one mended draft: its passage, and where its right answer stands."""

    id: str
    """Of the revised item."""
    draft_id: str
    """The draft that it was mended from."""
    draft_sha256: Sha256
    """Hash of that draft."""
    source_id: str
    """Source of its evidence."""
    passage: str
    """Hash of the task and the words shown, hidden names and punctuation aside; empty without a passage."""
    options: int
    """How many; 0 for other kinds."""
    place: int
    """Of the right one, from 0."""
    fixed: bool
    """Options refer to each other by place, so they stay where they are."""


class Ties(Record):
    """What ties one revised item to others: splits never separate items that share one of these keys."""

    id: str
    """The revised item."""
    source_id: str
    """Source of its evidence."""
    keys: tuple[str, ...]
    """Patient, document, picture and text keys."""
