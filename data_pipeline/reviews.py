"""What people decided, as a run reads it: verdicts that let an item into a release, change it, or keep it out.

Convention: `spinemed data run --reviews FOLDER` (or the config's `reviews`) copies `verdicts.jsonl` and
`reviewers.jsonl` (and `held.jsonl`) into the run folder, where they stay: every later release of that run, also one
that is built again after a withdrawal, obeys them. A verdict holds for the bytes it names. An item of the test split
needs one that lets it in; an item for training needs none, and a rejected one is released nowhere. Cases of real
patients need one in every split, also where a run has no reviews at all. An item that was opened again, or that rests
on levels that were corrected since (`held.jsonl`), is released nowhere until somebody decides on it.

Trap: an edited item is another instance with the same id. What it shares with others (patient, document, picture) is
that of the item it was, so splits never depend on reviews.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spinemed.errors import ReadError, RecordError
from spinemed.records import Instance, Record, ReviewVerdict, Sha256, Split, content_hash
from spinemed.tables import file_sha256, read_jsonl, read_manifest, write_bytes

__all__ = ["REVIEWS", "HeldItem", "ReviewerProfile", "Reviews", "keep_reviews", "read_reviews", "without_verdicts"]

REVIEWS = "reviews"
Where = tuple[str, Split, tuple[str, ...]]
"""Component, split and classes of a released row."""
_UNREAD = "no reviewer has approved this patient's case"
_HELD_BACK = "opened again or on corrected levels, and nobody has decided on it since"
_VERDICTS, _REVIEWERS, _HELD = "verdicts.jsonl", "reviewers.jsonl", "held.jsonl"


class HeldItem(Record):
    """An item that no release takes until somebody decides on it."""

    instance_id: str
    """The instance."""
    instance_sha256: Sha256
    """Hash of its record."""
    why: str
    """What it waits for."""


class ReviewerProfile(Record):
    """Who judged, under a pseudonym: what a datasheet says of them."""

    pseudonym: str
    """Under which the person's verdicts stand."""
    roles: tuple[str, ...]
    """What the person may do in the review."""
    specialty: str
    """As the person states it; empty where not stated."""
    years: int | None = None
    """Of practice."""
    group: str = ""
    """Group that agreement is told by, such as a hospital."""
    conflicts: tuple[str, ...] = ()
    """Conflicts of interest that the person declared."""


@dataclass(frozen=True)
class Reviews:
    """All verdicts of a review."""

    verdicts: dict[str, ReviewVerdict] = field(default_factory=dict)
    """By the hash of the instance that was shown."""
    reviewers: tuple[ReviewerProfile, ...] = ()
    """Who judged."""
    sha256: str = ""
    """Of the files."""
    held: frozenset[str] = frozenset()
    """Hashes of instances that wait for a decision and are released nowhere."""
    released: Counter[str] = field(default_factory=Counter)
    """Released rows by decision, once :meth:`applied` has run."""

    def why_not(self, instance_sha256: str, split: Split, *, patient: bool = False) -> str:
        """Why an item may not be released, or an empty text. A `patient`'s case needs a verdict for every split."""
        if instance_sha256 in self.held:
            return _HELD_BACK
        verdict = self.verdicts.get(instance_sha256)
        if verdict is None and patient and split != "test":
            return _UNREAD
        if verdict is None:
            return "no reviewer has approved it for the test split" if split == "test" else ""
        if verdict.decision == "rejected":
            return "rejected by reviewers"
        if split == "test" and verdict.purpose != "benchmark":
            return "reviewed for training alone, and the test split needs a benchmark's review"
        if split == "test" and len(verdict.reviewers) < 2 and verdict.adjudicator is None:
            return "one reviewer and no adjudicator, and the test split needs two who agree"
        return ""

    def applied(
        self,
        order: Sequence[Where | None],
        instances: Iterable[Instance],
        left_out: Counter[str],
        patients: Collection[str] = (),
    ) -> tuple[list[Where | None], list[Instance | None]]:
        """What stays of a release, and what people reworded.

        Args:
            order: Component, split and tags of each revised item, None where it is left out already.
            instances: The items, in the same order.
            left_out: Reasons are counted here.
            patients: Ids of the sources that hold patients' cases of a hospital.

        Returns:
            The order with more items left out, and beside it what people reworded.
        """
        kept: list[Where | None] = []
        edited: list[Instance | None] = []
        self.released.clear()
        for where, instance in zip(order, instances, strict=True):
            digest = content_hash(instance)
            why = "" if where is None else self.why_not(digest, where[1], patient=instance.source_id in patients)
            kept.append(None if why else where)
            left_out.update([why] if why else ())
            verdict = None if kept[-1] is None else self.verdicts.get(digest)
            edited.append(None if verdict is None else verdict.instance)
            if kept[-1] is not None:
                self.released["not reviewed" if verdict is None else verdict.decision] += 1
        return kept, edited

    def told(self) -> dict[str, Any]:
        """For manifest and datasheet: verdicts by purpose and decision, released rows, profiles."""
        counts = Counter(f"{verdict.purpose}: {verdict.decision}" for verdict in self.verdicts.values())
        settled = sum(verdict.adjudicator is not None for verdict in self.verdicts.values())
        return {
            "verdicts": dict(sorted(counts.items())),
            "adjudicated": settled,
            "released": dict(sorted(self.released.items())),
            "reviewers": [profile.model_dump(mode="json") for profile in self.reviewers],
        }


def without_verdicts(
    order: Sequence[Where | None], instances: Iterable[Instance], left_out: Counter[str], patients: Collection[str]
) -> list[Where | None]:
    """A release without any review: cases of real patients stay out, because nobody has decided on them.

    Args:
        order: As in :meth:`Reviews.applied`.
        instances: The items, in the same order.
        left_out: Reasons are counted here.
        patients: Ids of the sources that hold real patients' cases of a hospital.
    """
    kept: list[Where | None] = []
    for where, instance in zip(order, instances, strict=True):
        barred = where is not None and instance.source_id in patients
        left_out.update([_UNREAD] if barred else ())
        kept.append(None if barred else where)
    return kept


def keep_reviews(given: Path, run_folder: Path) -> None:
    """Check an export of `spinemed review export` and copy what a run needs of it into the run folder.

    Args:
        given: The folder, or its `verdicts.jsonl`.
        run_folder: Of the run; what was kept there before is replaced.

    Raises:
        ReadError: A file is missing, or differs from the export's manifest.
        RecordError: A line breaks its contract, or one instance has two verdicts.
    """
    home = given.parent if given.name == _VERDICTS else given
    if (home / "manifest.json").is_file():
        read_manifest(home, REVIEWS, verify=True)
    for name in (_VERDICTS, _REVIEWERS):
        if not (home / name).is_file():
            raise ReadError("no such file", file=home / name, cure="give the folder of `spinemed review export`")
    _read(home)
    kept = {name: (home / name).read_bytes() for name in (_REVIEWERS, _VERDICTS)}
    # What was held by earlier reviews is replaced, too: an export without the file holds nothing.
    kept = {_HELD: (home / _HELD).read_bytes() if (home / _HELD).is_file() else b"", **kept}
    for name, content in kept.items():  # the verdicts last: with them the reviews are there
        write_bytes(run_folder / REVIEWS / name, content)


def read_reviews(run_folder: Path) -> Reviews | None:
    """The reviews that a run obeys; None where it has none.

    Raises:
        ReadError, RecordError: A file is damaged.
    """
    home = run_folder / REVIEWS
    return _read(home) if (home / _VERDICTS).is_file() else None


def _read(home: Path) -> Reviews:
    verdicts: dict[str, ReviewVerdict] = {}
    for line, verdict in enumerate(read_jsonl(home / _VERDICTS, ReviewVerdict), 1):
        if verdict.instance_sha256 in verdicts:
            raise RecordError(
                f"the instance {verdict.instance_id} has two verdicts", file=home / _VERDICTS, line=line,
                field="instance_sha256", cure="export the review again",
            )  # fmt: skip
        if verdict.instance is not None and verdict.instance.id != verdict.instance_id:
            raise RecordError(
                f"the edited instance is {verdict.instance.id}", file=home / _VERDICTS, line=line,
                field="instance.id", cure="export the review again",
            )  # fmt: skip
        verdicts[verdict.instance_sha256] = verdict
    reviewers = tuple(read_jsonl(home / _REVIEWERS, ReviewerProfile))
    _require_profiles(verdicts.values(), reviewers, home)
    sha256 = f"{file_sha256(home / _VERDICTS)}{file_sha256(home / _REVIEWERS)}"
    held: frozenset[str] = frozenset()
    if (home / _HELD).is_file():
        held = frozenset(row.instance_sha256 for row in read_jsonl(home / _HELD, HeldItem))
        sha256 += file_sha256(home / _HELD) if held else ""
    return Reviews(verdicts, reviewers, sha256, held)


def _require_profiles(verdicts: Iterable[ReviewVerdict], known: Iterable[ReviewerProfile], home: Path) -> None:
    """Everybody who is named by a verdict has a profile."""
    names = {profile.pseudonym for profile in known}
    for verdict in verdicts:
        strangers = {*verdict.reviewers, *([verdict.adjudicator] if verdict.adjudicator else [])} - names
        if strangers:
            raise RecordError(
                f"{min(strangers)} judged {verdict.instance_id} and has no profile", file=home / _REVIEWERS,
                field="pseudonym", cure="export the review again",
            )  # fmt: skip
