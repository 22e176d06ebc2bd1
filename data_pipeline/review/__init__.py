"""Clinician review: who looks at what, what they decide, and a record of it that cannot be altered unseen."""
