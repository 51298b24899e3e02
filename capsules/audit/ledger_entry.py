"""Ledger entries as an auditor reads them: columns, and their canonical JSON, which is in the audit blocks."""

from json.encoder import encode_basestring
from typing import NamedTuple

AmountList = list[int]
"""Micro-dollars, tokens and tool calls, in the order of the canonical JSON. They may be negative."""
NOTHING: AmountList = [0, 0, 0]


class LedgerRecord(NamedTuple):
    """A ledger entry."""

    account: str
    at: str
    by: str
    id: int
    key: str
    kind: str
    limit: AmountList
    reserved: AmountList
    reserved_seconds: int
    spent: AmountList
    spent_seconds: int

    def text(self) -> str:
        """Return the canonical JSON, which is in the audit blocks. `ledger_body` in the database gives the same."""
        account, at, by, number, key, kind, limit, reserved, reserved_seconds, spent, spent_seconds = self
        return _TEXT % (
            *(quote(account), at, quote(by), number, quote(key), kind, *limit),
            *(*reserved, reserved_seconds, *spent, spent_seconds),
        )

    def describe(self) -> str:
        return f"Ledger entry {self.id} ({self.kind!r} of account {self.account!r})"


quote = encode_basestring  # escapes as RFC 8785 demands
_AMOUNTS = '{"micro_usd":%d,"tokens":%d,"tool_calls":%d}'
_TEXT = (
    f'{{"account":%s,"at":"%s","by":%s,"id":%d,"key":%s,"kind":"%s","limit":{_AMOUNTS},"reserved":{_AMOUNTS},'
    f'"reserved_seconds":%d,"spent":{_AMOUNTS},"spent_seconds":%d}}'
)
