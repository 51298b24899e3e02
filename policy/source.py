"""Constitutions that may be used: fetched, checked against digest and signature, compiled, and looked at again."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from capsules.digest import Digest
from capsules.errors import ConstitutionRefused
from capsules.records import ConstitutionRecord
from policy.constitution import document_digest, parse
from policy.engine import Policy

TRUSTED_SECONDS = 2.0
"""How long a record that was checked is not read again. One that is altered meanwhile stops runs after that."""


@dataclass(frozen=True)
class _Checked:
    record: ConstitutionRecord
    policy: Policy
    at: float


class Policies:
    """The compiled constitutions of this process, by digest.

    fetch: returns a record by digest, or raises NotFound.
    signed: says whether a record's signature is ours and valid.
    clock: seconds that never go back.
    """

    def __init__(
        self,
        fetch: Callable[[Digest], Awaitable[ConstitutionRecord]],
        signed: Callable[[ConstitutionRecord], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._signed = signed
        self._clock = clock
        self._checked: dict[Digest, _Checked] = {}

    async def get(self, digest: Digest) -> Policy:
        """Return the policy. Raises ConstitutionRefused unless document, digest and signature agree."""
        now = self._clock()
        known = self._checked.get(digest)
        if known is not None and now - known.at < TRUSTED_SECONDS:
            return known.policy
        record = await self._fetch(digest)
        # Compiling takes milliseconds: a record that has not changed keeps its policy.
        if known is not None and known.record == record:
            policy = known.policy
        else:
            policy = verified(record, digest, self._signed)
        self._checked[digest] = _Checked(record, policy, now)
        return policy


def verified(record: ConstitutionRecord, digest: Digest, signed: Callable[[ConstitutionRecord], bool]) -> Policy:
    """Compile a record that is what it says it is."""
    if record.state == "revoked":
        raise ConstitutionRefused(f"The constitution {record.name}@{record.version} was revoked; activate another.")
    if document_digest(record.document) != digest or record.digest != digest:
        raise ConstitutionRefused(
            f"The constitution {record.name}@{record.version} was altered: its document does not give {digest}."
        )
    if not signed(record):
        raise ConstitutionRefused(
            f"The constitution {record.name}@{record.version} has no valid signature of key {record.key_id!r}; "
            "sign it with the constitution key and install it again."
        )
    return Policy(parse(record.document), digest)
