"""What a service of the review refuses, as errors that a page or a command can show in one line.

::

    SpineMedError
     └─ ReviewError        something about a review that the user can mend
         ├─ AccessError    the actor's roles do not allow it (a web page answers 403)
         ├─ AbsentError    there is no such object, or none that this actor may know of (404)
         ├─ StaleError     somebody else, or another tab, was faster; what was sent was not stored (409)
         ├─ RefusedError   a value is missing, unknown or impossible (422)
         └─ LoginError     name and password do not match, or too many attempts (401 or 429)

Trap: an object that exists but is not the actor's gives the same words as one that does not exist; anything else would
let ids be guessed.
"""

from __future__ import annotations

from spinemed.errors import SpineMedError

__all__ = ["AbsentError", "AccessError", "LoginError", "RefusedError", "ReviewError", "StaleError"]


class ReviewError(SpineMedError):
    """Base of what the review refuses; `status` is what a web page answers with."""

    status = 400


class AccessError(ReviewError):
    """The actor's roles do not allow it."""

    status = 403


class AbsentError(ReviewError):
    """No such object, or none that this actor may know of."""

    status = 404


class StaleError(ReviewError):
    """The object changed since it was read; nothing was stored."""

    status = 409


class RefusedError(ReviewError):
    """A value is missing, unknown or impossible; nothing was stored."""

    status = 422


class LoginError(ReviewError):
    """Name and password do not match, or there were too many attempts."""

    status = 401

    def __init__(self, problem: str, *, retry_after_s: int = 0, cure: str | None = None) -> None:
        self.retry_after_s = retry_after_s
        """Seconds until the next attempt is looked at; 0 where it may be made at once."""
        if retry_after_s:
            self.status = 429
        super().__init__(problem, cure=cure)
