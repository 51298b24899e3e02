"""Audit of the ledger: recomputes the balances of accounts from entries in audit blocks and compares what is shown.

The entries come in the order of the blocks. An entry of a kind may change only certain amounts, in one direction. An
effect gives back no more than was reserved or charged for it, and the limit of an account is what its parent's entries
hold for it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import NamedTuple

from pydantic import Field

from capsules.audit.auditor import VerificationError
from capsules.audit.ledger_entry import NOTHING, AmountList, LedgerRecord
from capsules.base_model import FrozenModel

Sign = tuple[bool, bool]
NONE, MORE, LESS, ANY = (False, False), (False, True), (True, False), (True, True)
"""Whether a change may be below and above zero."""


class Signs(NamedTuple):
    """What an entry of a kind may change. `somagent/db/schema/sql/tables.sql` constrains the rows in the same way."""

    limit: Sign = NONE
    spent: Sign = NONE
    reserved: Sign = NONE
    spent_seconds: Sign = NONE
    reserved_seconds: Sign = NONE


SIGNS: Mapping[str, Signs] = {
    "open": Signs(limit=MORE),
    "reserve": Signs(reserved=MORE),
    "settle": Signs(spent=ANY, reserved=LESS),
    "charge": Signs(spent=MORE, reserved=LESS),
    "carve": Signs(reserved=ANY),
    "return": Signs(spent=MORE, reserved=LESS),
    "close": Signs(),
    "raise": Signs(limit=MORE),
    "allow": Signs(limit=ANY),
    "credit": Signs(limit=MORE),
    "period": Signs(limit=ANY, spent=LESS, spent_seconds=LESS),
    "clock": Signs(reserved_seconds=MORE),
    "clocked": Signs(spent_seconds=MORE, reserved_seconds=LESS),
}
OF_EFFECTS = frozenset({"reserve", "settle", "charge"})
"""Kinds of entries whose key is an effect's."""
OF_CHILDREN = frozenset({"carve", "return"})
"""Kinds of entries whose key is the id of an account under this one, or that id and a month."""
_MONTH = re.compile(r" \d{4}-\d{2}-\d{2}$")


class ShownAccount(FrozenModel):
    """A budget account as its row shows it, with the entries about it that are newer than the last block."""

    id: str
    parent: str | None
    limit: AmountList
    spent: AmountList
    reserved: AmountList
    overrun: AmountList
    spent_seconds: int
    reserved_seconds: int
    closed: bool
    later: tuple[LedgerRecord, ...] = Field((), description="The entries about it after the last block.")


class _Sums:
    """The sums of an account's entries, and of its parent's entries about it."""

    def __init__(self) -> None:
        self.limit, self.spent, self.reserved = NOTHING.copy(), NOTHING.copy(), NOTHING.copy()
        self.spent_seconds = self.reserved_seconds = 0
        self.renewed = NOTHING.copy()
        """What months took from `spent`."""
        self.held: dict[str, AmountList] = {}
        self.returned: dict[str, AmountList] = {}
        """What the account above holds for it, and what it took over as spent, by the id of the account above."""
        self.closed = False

    def add(self, entry: LedgerRecord) -> None:
        """Add an entry of the account."""
        _add(self.limit, entry.limit)
        _add(self.spent, entry.spent)
        _add(self.reserved, entry.reserved)
        self.spent_seconds += entry.spent_seconds
        self.reserved_seconds += entry.reserved_seconds
        if entry.kind == "period":
            _add(self.renewed, entry.spent)
        elif entry.kind == "close":
            self.closed = True

    def add_above(self, entry: LedgerRecord) -> None:
        """Add an entry of the account above about this one."""
        _add(self.held.setdefault(entry.account, NOTHING.copy()), entry.reserved)
        _add(self.returned.setdefault(entry.account, NOTHING.copy()), entry.spent)

    def overrun(self) -> AmountList:
        return [max(0, s + r - b) for s, r, b in zip(self.spent, self.reserved, self.limit, strict=True)]


class LedgerAuditor:
    """Recomputes the accounts of one tenant. Each method raises VerificationError with the first error."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Sums] = defaultdict(_Sums)
        self._held: dict[tuple[str, str], AmountList] = {}
        """What is reserved, by account and effect."""
        self._charged: dict[tuple[str, str], AmountList] = {}
        """What was spent by an effect whose reservation was charged, by account and effect."""

    def add(self, entry: LedgerRecord) -> None:
        """Add the next entry."""
        _check_signs(entry)
        self._accounts[entry.account].add(entry)
        if entry.kind in OF_EFFECTS:
            self._add_to_effect(entry)
        elif entry.kind in OF_CHILDREN:
            self._accounts[_MONTH.sub("", entry.key)].add_above(entry)

    def check_accounts(self, shown: Iterable[ShownAccount]) -> int:
        """Compare the rows of all accounts with the entries, and return the number of accounts."""
        rows = tuple(shown)
        missing = set(self._accounts)
        for account in rows:
            _check_account(account, self._sums(account))
            missing.discard(account.id)
        if missing:
            raise VerificationError(f"Account {min(missing)!r} is gone; the audit blocks hold entries of it.")
        return len(rows)

    def _sums(self, account: ShownAccount) -> _Sums:
        """Return the sums of an account with its later entries."""
        sums = deepcopy(self._accounts.get(account.id) or _Sums())
        for entry in account.later:
            _check_signs(entry)
            (sums.add if entry.account == account.id else sums.add_above)(entry)
        return sums

    def _add_to_effect(self, entry: LedgerRecord) -> None:
        key = (entry.account, entry.key)
        spent, reserved = entry.spent, entry.reserved
        if reserved != NOTHING:
            held = self._held.pop(key, NOTHING)
            held = [held[0] + reserved[0], held[1] + reserved[1], held[2] + reserved[2]]
            if min(held) < 0:
                raise VerificationError(f"{entry.describe()} gives back more than is reserved for {entry.key!r}.")
            if held != NOTHING:
                self._held[key] = held
        if entry.kind == "charge" or key in self._charged:
            spent = _add(self._charged.setdefault(key, NOTHING.copy()), spent)
        if min(spent) < 0:
            raise VerificationError(f"{entry.describe()} gives back more than was charged for {entry.key!r}.")


def _check_signs(entry: LedgerRecord) -> None:
    """Raise VerificationError when an entry changes what no entry of its kind may change."""
    signs = SIGNS.get(entry.kind)
    if signs is None:
        raise VerificationError(f"{entry.describe()} is of a kind that does not exist.")
    if entry.limit != NOTHING:
        _check_sign(entry, "limit", entry.limit, signs.limit)
    if entry.spent != NOTHING:
        _check_sign(entry, "spent", entry.spent, signs.spent)
    if entry.reserved != NOTHING:
        _check_sign(entry, "reserved", entry.reserved, signs.reserved)
    if entry.spent_seconds or entry.reserved_seconds:
        _check_sign(entry, "spent_seconds", [entry.spent_seconds], signs.spent_seconds)
        _check_sign(entry, "reserved_seconds", [entry.reserved_seconds], signs.reserved_seconds)


def _check_sign(entry: LedgerRecord, what: str, change: AmountList, sign: Sign) -> None:
    below, above = sign
    if (not below and min(change) < 0) or (not above and max(change) > 0):
        raise VerificationError(f"{entry.describe()} changes {what} by {change}, which no such entry may.")


def _check_account(account: ShownAccount, sums: _Sums) -> None:
    name = f"Account {account.id!r}"
    recomputed: dict[str, AmountList | int] = {
        "limit": sums.limit,
        "spent": sums.spent,
        "reserved": sums.reserved,
        "overrun": sums.overrun(),
    }
    if not account.id.startswith("run:"):  # a run's wall clock is in the entries of the accounts above it
        recomputed |= {"spent_seconds": sums.spent_seconds, "reserved_seconds": sums.reserved_seconds}
    for what, expected in recomputed.items():
        if getattr(account, what) != expected:
            raise VerificationError(f"{name} shows {what} {getattr(account, what)}, and its entries give {expected}.")
    if account.closed != sums.closed:
        raise VerificationError(f"{name} is {'closed without' if account.closed else 'open after'} its closing entry.")
    if account.closed and sums.reserved != NOTHING:
        raise VerificationError(f"{name} is closed and still holds {sums.reserved}.")
    others = {above for above, held in sums.held.items() if held != NOTHING} - {account.parent}
    if others:
        raise VerificationError(f"{name} is not under {min(others)!r}, which holds a part for it.")
    if account.parent is not None:
        _check_parent(name, account, sums)


def _check_parent(name: str, account: ShownAccount, sums: _Sums) -> None:
    """Check that the account above holds the limit of an open account, and took over what was spent."""
    above = str(account.parent)
    held = sums.held.get(above, NOTHING)
    expected = NOTHING if account.closed else account.limit
    if held != expected:
        raise VerificationError(f"{name} has the limit {expected}, and {above!r} holds {held} for it.")
    returned = sums.returned.get(above, NOTHING)
    spent = account.spent if account.closed else NOTHING
    handed = [now - before for now, before in zip(spent, sums.renewed, strict=True)]
    if returned != handed:
        raise VerificationError(f"{name} handed {handed} to {above!r} as spent, which took over {returned}.")


def _add(total: AmountList, change: AmountList) -> AmountList:
    if change != NOTHING:
        total[0] += change[0]
        total[1] += change[1]
        total[2] += change[2]
    return total
