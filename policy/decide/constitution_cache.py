"""Constitution cache: fetches constitutions, checks digest and signatures, compiles them, and checks them again."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from capsules.actions.verdict import ShadowVerdict, Verdict
from capsules.constitutions.constitution import ConstitutionRecord
from capsules.digest import Digest
from capsules.errors import ConstitutionRefused
from policy.decide.engine import Policy
from policy.language.constitution import document_digest, parse

TRUSTED_SECONDS = 1.0
"""How long a checked record is not read again. An altered record, or one whose signing key is revoked, stops runs after
that time. A revoked constitution stops them at once, because the database checks it before each effect."""


@dataclass(frozen=True)
class _Checked:
    record: ConstitutionRecord
    policy: Policy
    at: float


class ConstitutionCache:
    """The compiled constitutions of this process, by digest.

    fetch: returns a record by digest, or raises NotFound.
    signed: says whether enough of the current keys signed a record; may raise the reason.
    clock: seconds, monotonic.
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
        # Compiling takes milliseconds: a record that has not changed keeps its policy. Its keys may have changed.
        if known is not None and known.record == record:
            check_record(record, digest, self._signed)
            policy = known.policy
        else:
            policy = compile_record(record, digest, self._signed)
        self._checked[digest] = _Checked(record, policy, now)
        return policy

    async def shadow_reads(self, shadow: Digest | None) -> frozenset[str]:
        """Return the attributes that a shadow reads; none when it cannot be used."""
        if shadow is None:
            return frozenset()
        try:
            return (await self.get(shadow)).reads
        except Exception:  # noqa: BLE001 - `evaluate_shadow` says what is wrong; no run may fail by it
            return frozenset()

    async def evaluate_shadow(
        self, shadow: Digest | None, active: Digest, evaluate: Callable[[Policy], Awaitable[Verdict]]
    ) -> ShadowVerdict | None:
        """Return the verdict of a shadow, if there is one beside the active constitution. Never raises."""
        if shadow is None or shadow == active:
            return None
        try:
            verdict = await evaluate(await self.get(shadow))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a candidate, no run may fail by it
            return ShadowVerdict(
                constitution=shadow, decision="failed", sentence=f"{type(error).__name__}: {error}"[:300]
            )
        return ShadowVerdict(
            constitution=shadow, decision=verdict.decision, score=verdict.score, sentence=verdict.sentence
        )


def compile_record(record: ConstitutionRecord, digest: Digest, signed: Callable[[ConstitutionRecord], bool]) -> Policy:
    """Check and compile a record. Raises ConstitutionRefused as `check_record` does, and for wrong clauses."""
    check_record(record, digest, signed)
    return Policy(parse(record.document), digest)


def check_record(record: ConstitutionRecord, digest: Digest, signed: Callable[[ConstitutionRecord], bool]) -> None:
    """Raise ConstitutionRefused unless a record has this digest, is signed and not revoked."""
    if record.state == "revoked":
        raise ConstitutionRefused(f"The constitution {record.name}@{record.version} was revoked; activate another.")
    if document_digest(record.document) != digest or record.digest != digest:
        raise ConstitutionRefused(
            f"The constitution {record.name}@{record.version} was altered: its document does not give {digest}."
        )
    if not signed(record):
        raise ConstitutionRefused(
            f"The constitution {record.name}@{record.version} is not signed as this installation demands; "
            "sign it with the constitution key and install it again."
        )
