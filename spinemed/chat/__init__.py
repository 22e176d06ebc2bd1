"""One client for every language model: a server over HTTP or a model in this process, logged, paced and within budget.

Convention: names are resolved on first use, so that importing costs nothing.
The trap: requests carry an egress rule of their own, and the default is this machine only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.chat.budget import Budget, Prices, prompt_bound
    from spinemed.chat.client import Chat, ChatClient
    from spinemed.chat.egress import ANY, LOCAL, Egress
    from spinemed.chat.errors import BudgetError, ChatError, EgressError
    from spinemed.chat.ledger import open_ledger, start_ledger
    from spinemed.chat.local import LocalChat, LocalConfig
    from spinemed.chat.log import RequestLog
    from spinemed.chat.progress import show_progress
    from spinemed.chat.reply import Reply, Usage
    from spinemed.chat.request import ChatRequest, Decoding, FunctionCall, Schema, ToolRound, request_key
    from spinemed.chat.server import ServerConfig

__all__ = [
    "ANY",
    "LOCAL",
    "Budget",
    "BudgetError",
    "Chat",
    "ChatClient",
    "ChatError",
    "ChatRequest",
    "Decoding",
    "Egress",
    "EgressError",
    "FunctionCall",
    "LocalChat",
    "LocalConfig",
    "Prices",
    "Reply",
    "RequestLog",
    "Schema",
    "ServerConfig",
    "ToolRound",
    "Usage",
    "open_ledger",
    "prompt_bound",
    "request_key",
    "show_progress",
    "start_ledger",
]

__getattr__ = lazy_names(
    __name__,
    {
        "budget": "Budget Prices prompt_bound",
        "client": "Chat ChatClient",
        "egress": "ANY Egress LOCAL",
        "errors": "BudgetError ChatError EgressError",
        "ledger": "open_ledger start_ledger",
        "local": "LocalChat LocalConfig",
        "log": "RequestLog",
        "progress": "show_progress",
        "reply": "Reply Usage",
        "request": "ChatRequest Decoding FunctionCall Schema ToolRound request_key",
        "server": "ServerConfig",
    },
)
