"""Hard budgets in tokens, money and time: the request that could pass one is not sent.

Convention: before a request leaves, its largest possible cost is reserved: an upper bound of its prompt plus
`max_tokens`. Spent plus reserved never passes the budget, so requests in flight are covered. A request that would fit
once others have settled waits for them; one that fits in no case ends the run. What an earlier, killed run spent stands
in the log and counts, and so does what it had under way. Time counts from the opening of the client.

Trap: the bound of a prompt is its bytes in UTF-8 plus a fixed number per turn and picture (no tokenizer makes more
tokens than bytes); English has about a quarter of that. Near the end of a budget this leaves some of it unspent, by
design.
"""

from __future__ import annotations

import asyncio
import json
import time

from pydantic import Field

from spinemed.chat.errors import BudgetError
from spinemed.chat.reply import Usage
from spinemed.chat.request import ChatRequest
from spinemed.config import Config

__all__ = ["Budget", "Ledger", "Prices", "prompt_bound"]

_TURN_TOKENS = 16
_BASE_TOKENS = 64


class Budget(Config):
    """What a run may use; an absent limit is none."""

    tokens: int | None = Field(default=None, gt=0)
    """Prompt and completion tokens together."""
    money: float | None = Field(default=None, gt=0)
    """In the currency of the price table."""
    seconds: float | None = Field(default=None, gt=0)
    """Wall time of one run of the command."""


class Prices(Config):
    """What tokens cost; zero for a server of one's own."""

    currency: str = Field(default="USD", max_length=8)
    """Name of the currency."""
    as_of: str = Field(default="", max_length=32)
    """Date of the table, for the record."""
    prompt_per_million: float = Field(default=0.0, ge=0)
    """Price of a million prompt tokens."""
    completion_per_million: float = Field(default=0.0, ge=0)
    """Price of a million completion tokens."""
    image_tokens: int = Field(default=4096, ge=1)
    """The most tokens that one picture becomes in this model."""

    def cost(self, prompt: int, completion: int) -> Usage:
        """Tokens with their price."""
        money = (prompt * self.prompt_per_million + completion * self.completion_per_million) / 1e6
        return Usage(prompt, completion, round(money, 9))


def prompt_bound(request: ChatRequest, prices: Prices, *, schema_in_prompt: bool = False) -> int:
    """The most prompt tokens a request can become."""
    words = sum(len(turn.content.encode("utf-8", "surrogatepass")) + _TURN_TOKENS for turn in request.messages)
    if request.schema is not None:
        words += len(request.schema.text.encode()) * (1 + schema_in_prompt)
    words += sum(len(tool.encode("utf-8", "surrogatepass")) for tool in request.tools)
    turns = [json.dumps(turn, ensure_ascii=False) for one in request.rounds for turn in one.content()]
    words += sum(len(turn.encode("utf-8", "surrogatepass")) + _TURN_TOKENS for turn in turns)
    return words + _BASE_TOKENS + len(request.images) * prices.image_tokens


class Ledger:
    """What was spent, what is reserved, and what may still be.

    Args:
        budget: The limits.
        spent: Of earlier runs.
        lost_tokens: What earlier runs may have been charged without a reply.
        lost_money: The same in money.
        started: When time began to count, in seconds since the epoch; now unless given.
    """

    def __init__(
        self, budget: Budget, spent: Usage, lost_tokens: int, lost_money: float, *, started: float | None = None
    ) -> None:
        self.budget = budget
        self.tokens = spent.tokens + lost_tokens
        self.money = spent.money + lost_money
        self.reserved_tokens = 0
        self.reserved_money = 0.0
        self._start = time.monotonic() - (0.0 if started is None else max(0.0, time.time() - started))
        self._settled: asyncio.Condition | None = None

    @property
    def seconds_left(self) -> float | None:
        """Of the time budget; None without one."""
        if self.budget.seconds is None:
            return None
        return self.budget.seconds - (time.monotonic() - self._start)

    async def reserve(self, most: Usage) -> None:
        """Set aside the most that a request can cost, waiting for others where that helps.

        Raises:
            BudgetError: It does not fit in what is left.
        """
        while not self._fits(most, self.reserved_tokens, self.reserved_money):
            if not self._fits(most, 0, 0.0):
                raise self._spent(most)
            if self._settled is None:
                self._settled = asyncio.Condition()
            async with self._settled:
                # Others hold what is needed; each of them settles for what it really used.
                if not self._fits(most, self.reserved_tokens, self.reserved_money) and self.reserved_tokens:
                    await self._settled.wait()
        self._check_time()
        self.reserved_tokens += most.tokens
        self.reserved_money += most.money

    def _check_time(self) -> None:
        left = self.seconds_left
        if left is not None and left <= 0:
            raise BudgetError(
                f"the time budget of {self.budget.seconds:g} s is used up",
                field="budget.seconds",
                cure="raise it and run the same command again; what is logged is kept",
            )

    def close(self) -> None:
        """Nothing to let go of here."""

    async def settle(self, most: Usage, used: Usage) -> None:
        """Replace a reservation by what was really used."""
        self.reserved_tokens -= most.tokens
        self.reserved_money = max(0.0, self.reserved_money - most.money)
        self.tokens += used.tokens
        self.money += used.money
        if self._settled is not None:
            async with self._settled:
                self._settled.notify_all()

    def _fits(self, most: Usage, reserved_tokens: int, reserved_money: float) -> bool:
        limit, purse = self.budget.tokens, self.budget.money
        if limit is not None and self.tokens + reserved_tokens + most.tokens > limit:
            return False
        return purse is None or self.money + reserved_money + most.money <= purse + 1e-9

    def _spent(self, most: Usage) -> BudgetError:
        limit = self.budget.tokens
        if limit is not None and self.tokens + most.tokens > limit:
            return BudgetError(
                f"{self.tokens} tokens are spent, the next request may take {most.tokens}, the budget is {limit}",
                field="budget.tokens",
                cure="raise it and run the same command again; what is logged is kept",
            )
        return BudgetError(
            f"{self.money:.4f} is spent, the next request may cost {most.money:.4f}, the budget is {self.budget.money}",
            field="budget.money",
            cure="raise it and run the same command again; what is logged is kept",
        )
