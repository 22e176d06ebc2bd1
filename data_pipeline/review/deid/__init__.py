"""The de-identification queue: what was held back, before and after, for a person who signs for it.

Purpose: without a sign-off nothing leaves quarantine. Open `views.py` (what is shown), then `routes.py`.
"""
