"""The record of who did what: appended, hash-chained, verifiable, signed by password."""

import data_pipeline.review.protocol  # noqa: F401 signatures need its access rules, and its queues need signatures
from data_pipeline.review.audit.chain import (
    GENESIS,
    AuditLine,
    Head,
    append,
    head,
    read_log,
    verify_exported,
    verify_log,
)
from data_pipeline.review.audit.sign import MEANINGS, Proof, prove, sign

__all__ = [
    "GENESIS",
    "MEANINGS",
    "AuditLine",
    "Head",
    "Proof",
    "append",
    "head",
    "prove",
    "read_log",
    "sign",
    "verify_exported",
    "verify_log",
]
