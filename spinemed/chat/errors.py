"""The errors of asking a language model, beneath :class:`spinemed.errors.SpineMedError`.

::

    ChatError            the server, the log or the reply cannot be used: mend it and run the same command again
     ├─ EgressError      a request was about to go to a host that its source does not permit; nothing was sent
     └─ BudgetError      the next request would pass a budget; everything before it is logged

Convention: what a single request suffers (a wrong schema, a server error after all attempts) is an outcome of its
reply, counted by name; these errors end the whole run.

Trap: a message must never hold content of a request or a key; it names hosts, statuses and numbers.
"""

from __future__ import annotations

from spinemed.errors import SpineMedError

__all__ = ["BudgetError", "ChatError", "EgressError"]


class ChatError(SpineMedError):
    """The server, its settings or the request log cannot be used. Met wherever a language model is asked."""


class EgressError(ChatError):
    """A request may not go to this host. Raised before a byte leaves and before anything is logged."""


class BudgetError(ChatError):
    """The next request would pass a budget. Requests in flight were awaited and logged first."""
