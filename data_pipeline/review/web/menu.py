"""The links of the menu, and who is shown them. A part that adds pages adds its line here.

Trap: a link that is not shown is no protection; services check the roles.
"""

from __future__ import annotations

from data_pipeline.review.web.rendering import Entry

__all__ = ["MENU"]

MENU: tuple[Entry, ...] = (
    Entry("/queue", "menu.queue", frozenset({"reviewer"})),
    Entry("/adjudicate", "menu.adjudicate", frozenset({"adjudicator"})),
    Entry("/sign", "menu.sign", frozenset({"reviewer", "adjudicator"})),
    Entry("/readers", "readers.title", frozenset({"reviewer", "data_manager", "auditor"})),
    Entry("/agreement", "agreement.title", frozenset()),
    Entry("/figures", "figures.menu", frozenset({"data_manager", "auditor"})),
    Entry("/deid", "deid.menu", frozenset({"data_manager"})),
    Entry("/release", "menu.release", frozenset({"data_manager", "auditor"})),
    Entry("/audit", "menu.audit", frozenset({"auditor"})),
    Entry("/users", "menu.users", frozenset({"admin"})),
    Entry("/help", "menu.help", frozenset()),
)
