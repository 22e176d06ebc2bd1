"""All tables in one place: what services and migrations import."""

from __future__ import annotations

from data_pipeline.review.store.base import Base, now
from data_pipeline.review.store.items import (
    EvidenceRow,
    GoldItem,
    Item,
    ItemEvidence,
    Picture,
    ReviewRun,
    SamplingPlan,
    Version,
)
from data_pipeline.review.store.log import AuditHead, AuditRow
from data_pipeline.review.store.people import LoginAttempt, User, WebSession
from data_pipeline.review.store.readers import (
    ReaderAssignment,
    ReaderCase,
    ReaderKey,
    ReaderOutput,
    ReaderStudy,
    ReaderVote,
)
from data_pipeline.review.store.studies import Annotation, DeidItem, FigureReview, LevelCorrection, StudyVolume, Volume
from data_pipeline.review.store.wording import Wording
from data_pipeline.review.store.work import Adjudication, Assignment, Decision, Draft, Flag

__all__ = [
    "Adjudication",
    "Annotation",
    "Assignment",
    "AuditHead",
    "AuditRow",
    "Base",
    "Decision",
    "DeidItem",
    "Draft",
    "EvidenceRow",
    "FigureReview",
    "Flag",
    "GoldItem",
    "Item",
    "ItemEvidence",
    "LevelCorrection",
    "LoginAttempt",
    "Picture",
    "ReaderAssignment",
    "ReaderCase",
    "ReaderKey",
    "ReaderOutput",
    "ReaderStudy",
    "ReaderVote",
    "ReviewRun",
    "SamplingPlan",
    "StudyVolume",
    "User",
    "Version",
    "Volume",
    "WebSession",
    "Wording",
    "now",
]
