"""Constitutions: installed documents, common to all tenants, their signatures, and the one that is active in a scope.

Documents are encrypted at rest. This module decrypts them and compares them with their digests. Signatures are verified
by the process that uses the constitution (`somagent.identity.signatures`).
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Row, Select, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature, ConstitutionSummary
from capsules.constitutions.proposal import EVERYBODY, ActiveConstitution, Stage
from capsules.digest import Digest, canonical, digest, sha3_512
from capsules.errors import ConstitutionRefused, NotFound, Unavailable
from somagent.db.errors import translate_errors
from somagent.db.schema.tables import constitution_activations as activations
from somagent.db.schema.tables import constitution_signatures as signatures
from somagent.db.schema.tables import constitutions, from_row
from somagent.identity.proofs import ActivationProof, check_activation
from somagent.identity.tokens import Tokens

INSTALL = text("SELECT constitution_install(CAST(:entry AS json), :sealed)")
REVOKE = text("SELECT constitution_revoke(:digest, :token, :reason)")
TENANT = text("SELECT set_config('somagent.tenant', :tenant, true)")

MAX_LISTED = 1000
"""Maximum length of a list. There are few constitutions, so lists have no pages."""
_SUMMARY = tuple(column for column in constitutions.c if column.name not in {"sealed", "sealed_by"})


NONCE_BYTES = 12


@dataclass(frozen=True)
class ConstitutionEncryption:
    """Encrypts documents by AES-256-GCM, bound to their digests. keys: codec keys by id; the last one encrypts."""

    keys: Mapping[str, bytes] = field(repr=False)

    def encrypt(self, document: bytes, *, bound_to: Digest) -> tuple[str, bytes]:
        """Return the id of the key, and nonce with ciphertext. Raises Unavailable when there is no key."""
        if not self.keys:
            raise Unavailable("This process has no codec key (codec-1.key), so it cannot keep a constitution.")
        key_id, key = list(self.keys.items())[-1]
        nonce = os.urandom(NONCE_BYTES)
        return key_id, nonce + AESGCM(key).encrypt(nonce, document, bound_to.encode("ascii"))

    def decrypt(self, encrypted: bytes, *, key_id: str, bound_to: Digest) -> bytes:
        """Return the document. Raises ConstitutionRefused when it was altered or the key is not here."""
        key = self.keys.get(key_id)
        if key is None:
            raise ConstitutionRefused(
                f"The constitution {bound_to} is encrypted with the codec key {key_id!r}, which is not here. "
                f"Known: {', '.join(self.keys) or 'none'}.",
                digest=bound_to,
            )
        try:
            return AESGCM(key).decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], bound_to.encode("ascii"))
        except (InvalidTag, ValueError) as error:
            raise ConstitutionRefused(
                f"The constitution {bound_to} was altered: what is stored does not decrypt with {key_id!r}.",
                digest=bound_to,
            ) from error


@dataclass(frozen=True)
class Constitutions:
    """Installed constitutions, their signatures and activations; each call in a transaction of its own.

    tokens: verifies that people decided an activation.
    """

    engine: AsyncEngine
    encryption: ConstitutionEncryption
    tokens: Tokens

    async def active_digest(self, tenant: str = EVERYBODY, stage: Stage = "active") -> Digest | None:
        """Return the digest of the constitution that is active for a tenant, by the SQL function `constitution_of`."""
        found = await self._scalar(select(func.constitution_of(tenant, stage)))
        return Digest(found) if found else None

    async def require_active_digest(self, tenant: str) -> Digest:
        """Return the digest of the constitution that is active for a tenant.

        Raises ConstitutionRefused for none, and for one without proof that people decided it.
        """
        rows = await self._scalar(select(func.constitution_activation(tenant, "active")))
        found: Digest | None = None
        for row in rows or ():  # the tenant's own, then everybody's
            activation = ActivationProof.model_validate(row)
            check_activation(self.tokens, activation)
            if found := activation.digest:
                break
        if found is None:
            raise ConstitutionRefused("No constitution is active, so nothing may run. `somagent up` installs one.")
        return found

    async def active(self, tenant: str = EVERYBODY) -> ConstitutionRecord:
        """Return the active constitution of a tenant. Raises ConstitutionRefused for none or a revoked one."""
        record = await self.get(await self.require_active_digest(tenant))
        if record.state == "revoked":
            raise ConstitutionRefused(
                f"The active constitution {record.name}@{record.version} was revoked; activate another or roll back.",
                digest=record.digest,
            )
        return record

    async def get(self, digest_: Digest) -> ConstitutionRecord:
        """Return a constitution, checked against its digests. Raises NotFound; ConstitutionRefused when altered."""
        query = select(constitutions).where(constitutions.c.digest == digest_)
        signed = select(signatures.c.key_id, signatures.c.signature).where(signatures.c.digest == digest_)
        rows = await self._all(query)
        if not rows:
            raise NotFound(f"No constitution {digest_!r} was ever installed.", digest=digest_)
        return self._record(rows[0], await self._all(signed.order_by(signatures.c.added_at, signatures.c.key_id)))

    async def is_revoked(self, digest_: Digest) -> bool:
        """Return whether a constitution is revoked. Raises NotFound."""
        state = await self._scalar(select(constitutions.c.state).where(constitutions.c.digest == digest_))
        if state is None:
            raise NotFound(f"No constitution {digest_!r} was ever installed.", digest=digest_)
        return bool(state == "revoked")

    async def list(self, digests: frozenset[Digest] | None = None) -> tuple[ConstitutionSummary, ...]:
        """Return all constitutions, or those with the given digests, newest first, without documents."""
        query = select(*_SUMMARY, func.array_remove(func.array_agg(signatures.c.key_id.distinct()), None).label("keys"))
        signed = constitutions.outerjoin(signatures, signatures.c.digest == constitutions.c.digest)
        query = query.select_from(signed).group_by(constitutions.c.digest)
        if digests is not None:
            query = query.where(constitutions.c.digest.in_(digests))
        found = await self._all(query.order_by(constitutions.c.installed_at.desc()).limit(MAX_LISTED))
        return tuple(from_row(ConstitutionSummary, row) for row in found)

    async def install(self, record: ConstitutionRecord) -> None:
        """Store a document, or add signatures to a stored one. This does not activate it."""
        key_id, encrypted = self.encryption.encrypt(canonical(record.document), bound_to=record.digest)
        entry = record.model_dump(include={"digest", "name", "version", "proposed_by", "signatures"}) | {
            "sha3_512": sha3_512(record.document),
            "sealed_by": key_id,
        }
        async with translate_errors(), self.engine.begin() as connection:
            await connection.execute(INSTALL, {"entry": json.dumps(entry), "sealed": encrypted})

    async def activate(  # noqa: PLR0913 - what an activation says
        self,
        digest_: Digest | None,
        *,
        scope: str = EVERYBODY,
        stage: Stage = "active",
        by: str,
        reason: str,
        token: str,
    ) -> None:
        """Write an activation without a proposal, at the first start of an installation. Needs the owner's role.

        token: its attestation, of the purpose `activate_constitution`.
        """
        proof = [{"token": token, "used_at": datetime.now(UTC).isoformat()}]
        values = {"digest": digest_, "scope": scope, "stage": stage, "by": by, "reason": reason, "proof": proof}
        async with translate_errors(), self.engine.begin() as connection:
            await connection.execute(insert(activations).values(values))

    async def revoke(self, digest_: Digest, *, tenant: str, token: str, reason: str) -> None:
        """Revoke a constitution for ever. tenant: its outbox gets the event. token: the attestation of who revokes."""
        async with translate_errors(), self.engine.begin() as connection:
            await connection.execute(TENANT, {"tenant": tenant})
            await connection.execute(REVOKE, {"digest": digest_, "token": token, "reason": reason})

    async def history(
        self, *scopes: str, stage: Stage | None = None, of: Digest | None = None
    ) -> tuple[ActiveConstitution, ...]:
        """Return activations in these scopes (none: in all), newest first. of: only those of this constitution."""
        query = select(activations).order_by(activations.c.id.desc()).limit(MAX_LISTED)
        if scopes:
            query = query.where(activations.c.scope.in_(scopes))
        if of:
            query = query.where(activations.c.digest == of)
        if stage:
            query = query.where(activations.c.stage == stage)
        return tuple(_activation(row) for row in await self._all(query))

    async def newest_activation(self) -> int:
        """Return the number of the newest activation; 0 when there is none."""
        return await self._scalar(select(func.max(activations.c.id))) or 0

    async def active_by_tenant(self) -> dict[str, ActiveConstitution]:
        """Return the active constitution of each tenant that has its own, by tenant."""
        newest = (
            select(activations)
            .where((activations.c.stage == "active") & (activations.c.scope != EVERYBODY))
            .distinct(activations.c.scope)
            .order_by(activations.c.scope, activations.c.id.desc())
        )
        found = [_activation(row) for row in await self._all(newest)]
        return {each.scope: each for each in found if each.constitution is not None}

    async def _all(self, query: Select[Any]) -> Sequence[Row[Any]]:
        async with translate_errors(), self.engine.connect() as connection:
            found: Sequence[Row[Any]] = (await connection.execute(query)).all()
            return found

    async def _scalar(self, query: Select[Any]) -> Any:  # noqa: ANN401 - the value of a column
        async with translate_errors(), self.engine.connect() as connection:
            return await connection.scalar(query)

    def _record(self, row: Row[Any], signed: Sequence[Row[Any]]) -> ConstitutionRecord:
        found = Digest(row.digest)
        plain = self.encryption.decrypt(row.sealed, key_id=row.sealed_by, bound_to=found)
        document = json.loads(plain)
        if digest(document) != found or sha3_512(document) != row.sha3_512:
            raise ConstitutionRefused(
                f"The constitution {row.name}@{row.version} was altered: its document does not give {found}.",
                digest=found,
            )
        signed_by = tuple(ConstitutionSignature(key_id=s.key_id, signature=s.signature) for s in signed)
        return from_row(ConstitutionRecord, row, document=document, signatures=signed_by)


def _activation(row: Row[Any]) -> ActiveConstitution:
    return from_row(ActiveConstitution, row, constitution=row.digest)
