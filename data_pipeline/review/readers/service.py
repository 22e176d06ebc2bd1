"""A reader study: making it, reading in it, and what comes out.

Convention: services take `(session, actor, ...)` and decide rights themselves. A reader's query joins neither
`ReaderKey` nor anybody else's votes: what is not selected cannot be shown by mistake. All outputs of a case go to the
same readers, in an order drawn for each reader.

Trap: the reference is one of the outputs to be read. Shown beside them as the reference it would give itself away.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor, check_id, clean_text, require
from data_pipeline.review.protocol.decide import check_token
from data_pipeline.review.readers.study import StudyCase
from data_pipeline.review.store.tables import (
    Picture,
    ReaderAssignment,
    ReaderCase,
    ReaderKey,
    ReaderOutput,
    ReaderStudy,
    ReaderVote,
    User,
    now,
)
from spinemed.errors import ReadError
from spinemed.records import DIMENSIONS, SPINE_ERRORS, ReaderScore, content_hash
from spinemed.statistics import generator_for

__all__ = [
    "Judged",
    "OutputView",
    "StudyState",
    "Voted",
    "create_study",
    "list_studies",
    "next_reading",
    "picture_of",
    "planted_of",
    "reader_scores",
    "show_output",
    "vote",
]

_LONGEST_S = 86_400.0
_MOST_ERRORS = 99


class Judged(BaseModel):
    """One reader's judgement of one output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimensions: dict[str, int]
    """1 to 5 for each of `DIMENSIONS`."""
    errors: dict[str, int] = Field(default_factory=dict)
    """Counts of `SPINE_ERRORS`; kinds that were not found may be absent or 0."""
    would_sign: bool
    comment: str = ""
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)


@dataclass(frozen=True)
class Voted:
    """A stored judgement."""

    vote_id: int
    version: int
    """Of the assignment from now on."""
    repeated: bool = False
    """The token came before: nothing was stored this time."""


@dataclass(frozen=True)
class StudyState:
    """A study and how far it is: for a reader the own outputs, for those who manage it everybody's."""

    id: int
    name: str
    made_at: str
    cases: int
    total: int
    done: int


@dataclass(frozen=True)
class OutputView:
    """What a reader sees of one output."""

    assignment_id: int
    study_id: int
    study: str
    number: int
    """Its place in the reader's order, from 1."""
    total: int
    version: int
    question: str
    pictures: int
    text: str
    judged: Judged | None
    """The reader's own judgement, if there is one."""


def create_study(
    session: Session,
    actor: Actor,
    name: str,
    cases: Sequence[StudyCase],
    readers: Sequence[str],
    *,
    readers_per_output: int = 2,
    seed: int = 0,
    folder: Path | None = None,
) -> int:
    """Make a study: choose readers for each case, and for each reader an order of all outputs.

    Args:
        session: A writing session.
        actor: A data manager.
        name: Unique.
        cases: With their outputs.
        readers: Pseudonyms of active reviewers.
        readers_per_output: How many of them read each case, 2 or more: agreement of one is none.
        seed: Of the choice and the orders.
        folder: Where the cases' pictures lie; needed where a case has any.

    Returns:
        The study's id.

    Raises:
        AccessError: The actor is no data manager.
        RefusedError: The name is taken, a reader is unknown, or there are too few readers or no case.
        ReadError: A picture is missing or is none.
    """
    require(actor, "data_manager")
    name = clean_text(name, "name", most=120, needed=True).strip()
    chosen = list(dict.fromkeys(readers))
    if not cases:
        raise RefusedError("there is no case", field="cases", cure="write one case per line")
    if not 2 <= readers_per_output <= len(chosen):
        raise RefusedError(
            f"{readers_per_output} readers for each output of {len(chosen)}", field="readers_per_output",
            cure="use at least 2, and no more than there are readers",
        )  # fmt: skip
    people = {
        row.pseudonym: row
        for row in session.execute(
            select(User.id, User.pseudonym, User.roles).where(User.pseudonym.in_(chosen), User.active)
        )
    }
    unknown = [reader for reader in chosen if reader not in people or "reviewer" not in people[reader].roles]
    if unknown:
        raise RefusedError(f"'{unknown[0]}' is no active reviewer", field="readers", cure="name reviewers")
    study = ReaderStudy(
        name=name, readers_per_output=readers_per_output, seed=seed, made_by=actor.id or None, made_at=now()
    )
    session.add(study)
    try:
        session.flush()
    except IntegrityError as error:
        raise RefusedError(f"'{name}' is taken", field="name", cure="use another name") from error
    load = dict.fromkeys(sorted(chosen), 0)
    outputs = 0
    for case in sorted(cases, key=lambda one: one.case_id):
        row = ReaderCase(
            study_id=study.id, case_id=case.case_id, question=clean_text(case.question, "question", needed=True),
            pictures=[_keep_picture(session, folder, image) for image in case.images],
            reference=next((output.text for output in case.outputs if output.arm == "reference"), ""),
        )  # fmt: skip
        session.add(row)
        session.flush()
        draw = generator_for(seed, "readers", name, case.case_id)
        lot = {reader: float(draw.random()) for reader in load}
        mine = sorted(load, key=lambda reader: (load[reader], lot[reader]))[:readers_per_output]
        written = {
            content_hash({"study": name, "case": case.case_id, "text": output.text}): output for output in case.outputs
        }
        for digest, output in sorted(written.items()):  # not as in the file: an address tells its row's number
            outputs += 1
            text = clean_text(output.text, "text", needed=True)
            shown = ReaderOutput(case_pk=row.id, output_id=digest, text=text)
            session.add(shown)
            session.flush()
            session.add(
                ReaderKey(output_pk=shown.id, system=output.system, arm=output.arm, planted=list(output.planted))
            )
            for reader in mine:
                place = float(generator_for(seed, "order", name, reader, digest).random())
                session.add(ReaderAssignment(output_pk=shown.id, user_id=people[reader].id, place=place))
        for reader in mine:
            load[reader] += len(case.outputs)
    append(
        session, actor.pseudonym, "make reader study", "reader study", study.id,
        new={
            "name": name, "cases": len(cases), "outputs": outputs, "readers": sorted(chosen),
            "readers_per_output": readers_per_output, "seed": seed,
            "cases_sha256": content_hash([case.model_dump(mode="json") for case in cases]),
        },
    )  # fmt: skip
    return study.id


def _keep_picture(session: Session, folder: Path | None, name: str) -> str:
    from PIL import Image, UnidentifiedImageError

    base = None if folder is None else folder.resolve()
    file = None if base is None else (base / name).resolve()
    if base is None or file is None or not file.is_relative_to(base):
        raise ReadError("is not beside the study's file", file=name, field="images", cure="use relative paths")
    try:
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            kind, (width, height), mode = picture.format, picture.size, picture.mode
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ReadError("cannot be read as a picture", file=file, cure="use PNG or JPEG") from error
    if kind not in ("PNG", "JPEG"):
        raise ReadError(f"is {kind}, expected PNG or JPEG", file=file, cure="convert it")
    digest: str = session.info["blobs"].put(content)
    if session.get(Picture, digest) is None:
        bits = 16 if mode.startswith("I;16") or mode == "I" else 8
        session.add(Picture(sha256=digest, format=kind.lower(), width_px=width, height_px=height, bits=bits))
        session.flush()
    return digest


def list_studies(session: Session, actor: Actor) -> list[StudyState]:
    """The studies that the actor reads in, or all for those who manage or audit."""
    everything = actor.may("data_manager", "auditor")
    if not everything:
        require(actor, "reviewer")
    query = (
        select(
            ReaderStudy.id, ReaderStudy.name, ReaderStudy.made_at, func.count(func.distinct(ReaderCase.id)),
            func.count(ReaderAssignment.id), func.count(ReaderAssignment.id).filter(ReaderAssignment.status == "done"),
        )
        .join(ReaderCase, ReaderCase.study_id == ReaderStudy.id)
        .join(ReaderOutput, ReaderOutput.case_pk == ReaderCase.id)
        .join(ReaderAssignment, ReaderAssignment.output_pk == ReaderOutput.id)
        .group_by(ReaderStudy.id, ReaderStudy.name, ReaderStudy.made_at)
        .order_by(ReaderStudy.id)
    )  # fmt: skip
    if not everything:
        query = query.where(ReaderAssignment.user_id == actor.id)
    return [StudyState(*row) for row in session.execute(query)]


def next_reading(session: Session, actor: Actor, study_id: int) -> int | None:
    """The reader's next output in a study, as the id of the assignment; None where all are judged.

    Raises:
        AbsentError: The actor reads in no such study.
    """
    require(actor, "reviewer")
    rows = session.execute(
        select(ReaderAssignment.id, ReaderAssignment.status)
        .join(ReaderOutput, ReaderOutput.id == ReaderAssignment.output_pk)
        .join(ReaderCase, ReaderCase.id == ReaderOutput.case_pk)
        .where(ReaderCase.study_id == check_id(study_id), ReaderAssignment.user_id == actor.id)
        .order_by(ReaderAssignment.place, ReaderAssignment.id)
    ).all()
    if not rows:
        raise AbsentError("there is no such study of yours")
    return next((row.id for row in rows if row.status == "open"), None)


def show_output(session: Session, actor: Actor, assignment_id: int) -> OutputView:
    """One output as its reader sees it.

    Raises:
        AbsentError: It is not the actor's to read.
    """
    require(actor, "reviewer")
    row = session.execute(
        select(
            ReaderAssignment.id, ReaderAssignment.place, ReaderAssignment.version, ReaderAssignment.output_pk,
            ReaderOutput.text, ReaderCase.question, ReaderCase.pictures, ReaderStudy.id.label("study_id"),
            ReaderStudy.name,
        )
        .join(ReaderOutput, ReaderOutput.id == ReaderAssignment.output_pk)
        .join(ReaderCase, ReaderCase.id == ReaderOutput.case_pk)
        .join(ReaderStudy, ReaderStudy.id == ReaderCase.study_id)
        .where(ReaderAssignment.id == check_id(assignment_id), ReaderAssignment.user_id == actor.id)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise AbsentError("there is no such output in your study")
    order = session.scalars(
        select(ReaderAssignment.id)
        .join(ReaderOutput, ReaderOutput.id == ReaderAssignment.output_pk)
        .join(ReaderCase, ReaderCase.id == ReaderOutput.case_pk)
        .where(ReaderCase.study_id == row.study_id, ReaderAssignment.user_id == actor.id)
        .order_by(ReaderAssignment.place, ReaderAssignment.id)
    ).all()
    mine = session.scalars(
        select(ReaderVote)
        .where(ReaderVote.output_pk == row.output_pk, ReaderVote.user_id == actor.id)
        .order_by(ReaderVote.id.desc())
        .limit(1)
    ).one_or_none()
    judged = None
    if mine is not None:
        judged = Judged(
            dimensions=mine.dimensions, errors=mine.errors, would_sign=mine.would_sign, comment=mine.comment,
            seconds=mine.seconds,
        )  # fmt: skip
    return OutputView(
        row.id, row.study_id, row.name, order.index(row.id) + 1, len(order), row.version, row.question,
        len(row.pictures), row.text, judged,
    )  # fmt: skip


def picture_of(session: Session, actor: Actor, assignment_id: int, number: int) -> tuple[bytes, str]:
    """A picture of a case that the actor reads: bytes and media type.

    Raises:
        AbsentError: The output is not the actor's to read, or its case has no such picture.
    """
    require(actor, "reviewer")
    pictures = session.scalar(
        select(ReaderCase.pictures)
        .join(ReaderOutput, ReaderOutput.case_pk == ReaderCase.id)
        .join(ReaderAssignment, ReaderAssignment.output_pk == ReaderOutput.id)
        .where(ReaderAssignment.id == check_id(assignment_id), ReaderAssignment.user_id == actor.id)
    )
    if pictures is None or not 0 <= number < len(pictures):
        raise AbsentError("there is no such picture in your study")
    kind = session.scalar(select(Picture.format).where(Picture.sha256 == pictures[number]))
    content: bytes = session.info["blobs"].get(pictures[number])
    return content, f"image/{kind}"


def vote(session: Session, actor: Actor, assignment_id: int, judged: Judged, *, version: int, token: str) -> Voted:
    """Store a judgement; a later one of the same reader replaces it and both stay.

    Args:
        session: A writing session.
        actor: The reader.
        assignment_id: Of the output.
        judged: The judgement.
        version: Of the assignment, as the page was told.
        token: New for each judgement, the same for each repetition of one.

    Raises:
        AbsentError: The output is not the actor's to read.
        StaleError: Another tab judged it since.
        RefusedError: A dimension is missing or outside 1 to 5, a kind of error is unknown, or the token was used.
    """
    require(actor, "reviewer")
    mine = session.scalars(
        select(ReaderAssignment)
        .where(ReaderAssignment.id == check_id(assignment_id), ReaderAssignment.user_id == actor.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if mine is None:
        raise AbsentError("there is no such output in your study")
    comment = clean_text(judged.comment, "comment", most=4000).strip()
    _check(judged)
    errors = {kind: number for kind, number in judged.errors.items() if number}
    earlier = session.scalars(
        select(ReaderVote).where(ReaderVote.user_id == actor.id, ReaderVote.token == check_token(token))
    ).one_or_none()
    if earlier is not None:
        same = (earlier.output_pk, earlier.dimensions, earlier.errors, earlier.would_sign, earlier.comment)
        if same != (mine.output_pk, judged.dimensions, errors, judged.would_sign, comment):
            raise RefusedError("was used for another judgement", field="token", cure="make a new one for each act")
        return Voted(earlier.id, mine.version, repeated=True)
    if mine.version != version:
        raise StaleError("you judged this output in another tab", cure="load it again")
    row = ReaderVote(
        output_pk=mine.output_pk, user_id=actor.id, group_name=actor.group, dimensions=dict(judged.dimensions),
        errors=errors, would_sign=judged.would_sign, comment=comment, seconds=min(judged.seconds, _LONGEST_S),
        token=token, made_at=now(),
    )  # fmt: skip
    session.add(row)
    session.flush()
    mine.status = "done"
    mine.version += 1
    told = {
        "vote": row.id, "dimensions": row.dimensions, "errors": row.errors, "would_sign": row.would_sign,
        "comment": comment,
    }  # fmt: skip
    append(session, actor.pseudonym, "judge output", "reader output", mine.output_pk, new=told)
    return Voted(row.id, mine.version)


def _check(judged: Judged) -> None:
    for name in DIMENSIONS:
        if judged.dimensions.get(name) not in (1, 2, 3, 4, 5):
            raise RefusedError("is not from 1 to 5", field=name, cure="choose a number for each dimension")
    unknown = sorted(set(judged.dimensions) - set(DIMENSIONS)) + sorted(set(judged.errors) - set(SPINE_ERRORS))
    if unknown:
        raise RefusedError(f"there is no {unknown[0][:40]!r}", field="dimensions", cure="load the page again")
    for kind, number in judged.errors.items():
        if not 0 <= number <= _MOST_ERRORS:
            raise RefusedError(f"is not from 0 to {_MOST_ERRORS}", field=kind, cure="count the errors")


def _study(session: Session, actor: Actor, study_id: int) -> None:
    require(actor, "data_manager", "auditor")
    if session.get(ReaderStudy, check_id(study_id)) is None:
        raise AbsentError("there is no such study")


def reader_scores(session: Session, actor: Actor, study_id: int) -> Iterator[ReaderScore]:
    """Every reader's latest judgement of every output, sorted by case, output and reader.

    Raises:
        AccessError: The actor is neither data manager nor auditor: the records name the systems.
        AbsentError: There is no such study.
    """
    _study(session, actor, study_id)
    latest = select(func.max(ReaderVote.id)).group_by(ReaderVote.output_pk, ReaderVote.user_id).scalar_subquery()
    rows = session.execute(
        select(ReaderVote, User.pseudonym, ReaderOutput.output_id, ReaderCase.case_id, ReaderKey.system, ReaderKey.arm)
        .join(User, User.id == ReaderVote.user_id)
        .join(ReaderOutput, ReaderOutput.id == ReaderVote.output_pk)
        .join(ReaderCase, ReaderCase.id == ReaderOutput.case_pk)
        .join(ReaderKey, ReaderKey.output_pk == ReaderOutput.id)
        .where(ReaderCase.study_id == study_id, ReaderVote.id.in_(latest))
        .order_by(ReaderCase.case_id, ReaderOutput.output_id, User.pseudonym)
    )
    for one, reader, output_id, case_id, system, arm in rows:
        yield ReaderScore.model_validate(
            {
                "case_id": case_id, "output_id": output_id, "system": system, "arm": arm, "reader": reader,
                "group": one.group_name, "dimensions": {name: one.dimensions[name] for name in DIMENSIONS},
                "errors": {kind: one.errors[kind] for kind in SPINE_ERRORS if kind in one.errors},
                "would_sign": one.would_sign, "comment": one.comment,
            }
        )  # fmt: skip


def planted_of(session: Session, actor: Actor, study_id: int) -> Mapping[str, tuple[str, ...]]:
    """The errors planted in each doctored output of a study, by its id.

    Raises:
        AccessError: The actor is neither data manager nor auditor.
        AbsentError: There is no such study.
    """
    _study(session, actor, study_id)
    found: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for output_id, planted in session.execute(
        select(ReaderOutput.output_id, ReaderKey.planted)
        .join(ReaderCase, ReaderCase.id == ReaderOutput.case_pk)
        .join(ReaderKey, ReaderKey.output_pk == ReaderOutput.id)
        .where(ReaderCase.study_id == study_id, ReaderKey.arm == "doctored")
    ):
        found[output_id] = tuple(planted)
    return dict(found)
