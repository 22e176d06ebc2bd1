"""The record of who did what: appended, hash-chained, verifiable. Signatures are `data_pipeline.review.protocol`'s."""

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

__all__ = [
    "GENESIS",
    "AuditLine",
    "Head",
    "append",
    "head",
    "read_log",
    "verify_exported",
    "verify_log",
]
