"""Constitutions that may be used: fetched, checked against digest and signature, compiled, kept."""

from collections.abc import Awaitable, Callable

from capsules.digest import Digest
from capsules.errors import ConstitutionRefused
from capsules.records import ConstitutionRecord
from policy.constitution import document_digest, parse
from policy.engine import Policy


class Policies:
    """The compiled constitutions of this process, by digest.

    fetch: returns a record by digest, or raises NotFound.
    signed: says whether a record's signature is ours and valid.
    """

    def __init__(
        self,
        fetch: Callable[[Digest], Awaitable[ConstitutionRecord]],
        signed: Callable[[ConstitutionRecord], bool],
    ) -> None:
        self._fetch = fetch
        self._signed = signed
        self._compiled: dict[Digest, Policy] = {}

    async def get(self, digest: Digest) -> Policy:
        """Return the policy. Raises ConstitutionRefused unless document, digest and signature agree."""
        policy = self._compiled.get(digest)
        if policy is None:
            policy = verified(await self._fetch(digest), digest, self._signed)
            self._compiled[digest] = policy
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
