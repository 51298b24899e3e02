"""Budget accounts and their ledger. Every change is a function of `sql/accounts.sql`, which posts the ledger entry."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy import Row, select, text

from capsules.base_model import FrozenModel
from capsules.budgets.account import Account, AccountTerms, Rate, WallClock
from capsules.budgets.amounts import DIMENSIONS, Amounts, Dimension
from capsules.errors import NotFound
from somagent.db.pages import check_limit
from somagent.db.repositories.repository import Repository
from somagent.db.schema.tables import budget_accounts, from_row, ledger_entries

EntryKind = Literal[
    "open",
    "reserve",
    "settle",
    "charge",
    "carve",
    "return",
    "close",
    "raise",
    "allow",
    "credit",
    "period",
    "clock",
    "clocked",
]


class Delta(FrozenModel):
    """A change in every dimension; unlike Amounts it may be negative."""

    tokens: int
    micro_usd: int
    tool_calls: int


class LedgerEntry(FrozenModel):
    """One change of one account. The sums of an account's entries are its balances."""

    id: int
    account: str
    kind: EntryKind
    key: str
    by: str
    limit: Delta
    spent: Delta
    reserved: Delta
    spent_seconds: int = 0
    reserved_seconds: int = 0
    at: datetime


class Breach(FrozenModel):
    """An invariant of the ledger that an account violates, with the expected and the found amount."""

    account: str
    dimension: Dimension | Literal["seconds"]
    law: str
    expected: int
    found: int


class Accounts(Repository):
    """The accounts of one tenant. Changes return the account as it is then; a missing account raises NotFound."""

    async def get(self, account: str) -> Account:
        """Return an account. Raises NotFound."""
        query = select(budget_accounts).where(budget_accounts.c.id == account)
        row = await self._first(query)
        if row is None:
            raise NotFound(f"There is no account {account!r}.", account=account)
        return _account(row)

    async def ensure(self, account: str, limit: Amounts) -> Account:
        """Return a root account, opened with `limit` unless it exists."""
        return await self._change(account, "account_open(:id, CAST(:amounts AS jsonb))", amounts=limit)

    async def carve(self, parent: str, account: str, limit: Amounts) -> Account:
        """Open an account with a part of its parent's limit. Idempotent by id. Raises BudgetExhausted."""
        call = "account_carve(:parent, :id, CAST(:amounts AS jsonb))"
        return await self._change(account, call, parent=parent, amounts=limit)

    async def carve_run(self, parent: str, account: str, limit: Amounts, *, seconds: int) -> Account:
        """Carve a run's account, and reserve `seconds` where the wall clock is limited. Raises BudgetExhausted."""
        call = "run_carve(:parent, :id, CAST(:amounts AS jsonb), :seconds)"
        return await self._change(account, call, parent=parent, amounts=limit, seconds=seconds)

    async def close(self, account: str) -> Amounts:
        """Close an account, give the rest to its parent and return what was spent. Idempotent.

        A reservation that was never settled counts as spent: its effect may have happened.
        """
        return (await self._change(account, "account_close(:id)")).spent

    async def raise_limit(self, account: str, amounts: Amounts, *, key: str, by: str) -> Account:
        """Raise a limit, carving the extra from the parent. Idempotent by key. Raises BudgetExhausted or Conflict."""
        call = "account_raise(:id, CAST(:amounts AS jsonb), :key, :by)"
        return await self._change(account, call, amounts=amounts, key=key, by=by)

    async def allow(self, account: str, parent: str | None, terms: AccountTerms, *, by: str) -> Account:
        """Set the terms of an account, opened under `parent` unless it exists. Raises BudgetExhausted or Conflict."""
        call = "account_allow(:id, :parent, CAST(:terms AS jsonb), :by)"
        return await self._change(account, call, parent=parent, terms=terms, by=by)

    async def give_credit(self, account: str, amounts: Amounts, *, key: str, by: str) -> Account:
        """Give credit that is spent once, after the allowance. Idempotent by key."""
        call = "account_give_credit(:id, CAST(:amounts AS jsonb), :key, :by)"
        return await self._change(account, call, amounts=amounts, key=key, by=by)

    async def open_period(self, account: str) -> None:
        """Open the current month in the account's tree, unless it or a later one is open."""
        await self.connection.execute(text("SELECT period_begin(:id)"), {"id": account})

    async def retire(self, account: str) -> None:
        """Close an account under which no run is open. Raises NotFound or Conflict."""
        await self._change(account, "account_retire(:id)")

    async def projects(self) -> tuple[Account, ...]:
        """Return the tenant's open projects by name."""
        query = (
            select(budget_accounts)
            .where(
                budget_accounts.c.parent == text("'tenant:' || current_setting('somagent.tenant')"),
                budget_accounts.c.id.startswith("project:"),
                budget_accounts.c.closed_at.is_(None),
            )
            .order_by(budget_accounts.c.id)
        )
        return tuple(_account(row) for row in await self._all(query))

    async def breaches(self) -> tuple[Breach, ...]:
        """Check the tenant's ledger and return every violated invariant; none in a correct ledger."""
        rows = (await self.connection.execute(text("SELECT * FROM account_conservation()"))).mappings()
        return tuple(Breach.model_validate(dict(row)) for row in rows)

    async def ledger(self, account: str, limit: int = 500) -> list[LedgerEntry]:
        """Return an account's last entries, oldest first."""
        query = (
            select(ledger_entries)
            .where(ledger_entries.c.account == account)
            .order_by(ledger_entries.c.id.desc())
            .limit(check_limit(limit))
        )
        return [_entry(row) for row in reversed(await self._all(query))]

    async def _change(self, account: str, call: str, **arguments: BaseModel | str | int | None) -> Account:
        """Call a function of the database, with models as JSON, and return the account as it is then."""
        plain = {key: arg.model_dump_json() if isinstance(arg, BaseModel) else arg for key, arg in arguments.items()}
        await self.connection.execute(text(f"SELECT {call}"), {"id": account, **plain})
        return await self.get(account)


def _amounts(row: Row[Any], prefix: str) -> dict[str, int]:
    return {dimension: getattr(row, f"{prefix}_{dimension}") for dimension in DIMENSIONS}


def _account(row: Row[Any]) -> Account:
    limit, spent, reserved, credit, allowance = (
        Amounts(**_amounts(row, prefix)) for prefix in ("limit", "spent", "reserved", "credit", "allowance")
    )
    return from_row(
        Account,
        row,
        limit=limit,
        spent=spent,
        reserved=reserved,
        credit=credit,
        wall_clock=WallClock(limit=row.limit_seconds, spent=row.spent_seconds, reserved=row.reserved_seconds),
        terms=None if row.id.startswith("run:") else _terms(row, allowance),
        closed=row.closed_at is not None,
    )


def _terms(row: Row[Any], allowance: Amounts) -> AccountTerms:
    unlimited = row.rate_tokens is None and row.rate_calls is None
    rate = None if unlimited else Rate(tokens=row.rate_tokens, calls=row.rate_calls)
    return AccountTerms(allowance=allowance, period=row.period, wall_clock=row.limit_seconds or None, rate=rate)


def _entry(row: Row[Any]) -> LedgerEntry:
    return from_row(LedgerEntry, row, **{name: _amounts(row, name) for name in ("limit", "spent", "reserved")})
