"""De-identification that fails closed: headers, texts, pixels and faces, each with a status that decides.

Purpose: everything a hospital hands over passes here first. Open `status.py`, then `engine.py`.
"""

from data_pipeline.deidentify.engine import deidentify_export
from data_pipeline.deidentify.identity import CaseIdentity, identity_from_header, identity_from_row
from data_pipeline.deidentify.keys import DeidKey, read_key, write_key
from data_pipeline.deidentify.status import Deidentified, DeidRecord, Sealed, SignOff, clear, require_cleared, sign_off
from data_pipeline.deidentify.text import Tags, TextResult, deidentify_text

__all__ = [
    "CaseIdentity",
    "DeidKey",
    "DeidRecord",
    "Deidentified",
    "Sealed",
    "SignOff",
    "Tags",
    "TextResult",
    "clear",
    "deidentify_export",
    "deidentify_text",
    "identity_from_header",
    "identity_from_row",
    "read_key",
    "require_cleared",
    "sign_off",
    "write_key",
]
