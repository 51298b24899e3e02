"""Bootstrap of an installation: keys, schema, tenant, principals, signed constitution, shipped capsules, audit entry.

Every step may run again: it creates what is missing and leaves what exists.
"""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import SecretStr

from capsules.budgets.account import AccountTerms
from capsules.budgets.amounts import Amounts
from capsules.constitutions.constitution import ConstitutionRecord, ConstitutionSignature
from capsules.constitutions.proof import ProofReport
from capsules.constitutions.proposal import EVERYBODY
from capsules.digest import Digest, digest
from capsules.errors import ConstitutionRefused, NotFound
from capsules.identity.principal import Principal
from somagent.capsule_files.library import Library
from somagent.db.database import Database, open_database
from somagent.db.schema.migrate import upgrade
from somagent.db.transaction import Transaction
from somagent.identity.capabilities import local_people, local_principals
from somagent.identity.files import write_private_json
from somagent.identity.keys import KEY_PURPOSES, KeyRing
from somagent.identity.signatures import sign_digest, verify_constitution
from somagent.identity.tokens import ACCESS_SECONDS, AccessClaims, Attestation, RefreshClaims, Tokens
from somagent.settings import Settings

TENANT = "local"
TENANT_TERMS = AccountTerms(
    allowance=Amounts(tokens=50_000_000, micro_usd=100_000_000, tool_calls=1_000_000), period="month"
)
CLIENT = "local stack"
"""Name of the token families that the bootstrap opens, one for each principal."""
ACTOR, INSTALLATION = "bootstrap", "installation"
"""Actor and subject of the audit entries for changed settings and keys."""

Prove = Callable[[dict[str, Any], Digest], ProofReport]
"""Proves a constitution document. It is injected, because this package does not import the prover."""


async def bootstrap(settings: Settings, prove: Prove) -> None:
    """Bring an installation to the state in which workers and API can start.

    Raises ConstitutionRefused with the counterexample when the shipped constitution does not hold.
    """
    people = local_people(TENANT, settings.people)
    KeyRing.create_missing(settings.keys_dir)
    KeyRing.create_separate(settings.sealer_keys_dir, "sealer", settings.keys_dir)
    keyring = KeyRing.load(settings.keys_dir)
    library = Library.load()
    await upgrade(settings.database("owner"))
    async with open_database(settings.database("owner"), connections=2, keys=keyring) as owner:
        await owner.tenants.add(TENANT)
        record = sign_constitution(keyring, library.constitution)
        if await owner.constitutions.active_digest() is None:
            verify_constitution(keyring, record, settings.constitution_signatures)
            await activate_first(owner, record, prove(record.document, record.digest))
    tokens = Tokens(keyring)
    async with open_database(settings.database("app"), connections=2) as db:
        await _add_tenant_records(db, keyring, tokens, library, people)
        for tenant in await db.tenants.list():
            async with db.transaction(tenant) as tx:
                await sign_old_records(tx, tokens)
        async with db.transaction(TENANT) as tx:
            await audit_installation(tx, settings, keyring)
            credentials = await _open_families(tx, tokens, people, days=settings.refresh_days)
    write_private_json(settings.credentials_file, credentials)


async def activate_first(owner: Database, record: ConstitutionRecord, report: ProofReport) -> None:
    """Activate the shipped constitution without approval. Raises ConstitutionRefused when not everything is proved."""
    if not report.holds:
        failed = next(proof for proof in report.proofs if proof.outcome != "proved")
        example = "".join(f" Counterexample: {one.model_dump_json()}" for one in failed.witnesses[:1])
        raise ConstitutionRefused(
            f"The shipped constitution {record.name}@{record.version} is not activated: {failed.guarantee} "
            f"is {failed.outcome}. {failed.sentence}{example}"
        )
    await owner.constitutions.install(record)
    token = attest_activation(owner.tokens, record, EVERYBODY, by=record.proposed_by, reason="first start")
    await owner.constitutions.activate(record.digest, by=record.proposed_by, reason="first start", token=token)


def attest_activation(tokens: Tokens, record: ConstitutionRecord, scope: str, *, by: str, reason: str) -> str:
    """Return the attestation of an activation by the owner of the installation, who has its keys."""
    attestation = Attestation(
        tenant=TENANT,
        subject=by,
        capabilities=frozenset(),
        purpose="activate_constitution",
        record=record.digest,
        terms={"scope": scope, "stage": "active", "reason": reason},
    )
    return tokens.mint_attestation(attestation)


def sign_constitution(keyring: KeyRing, document: dict[str, Any]) -> ConstitutionRecord:
    """Return the record of a constitution, signed with the installation's key."""
    signed = sign_digest(keyring, "constitution", digest(document))
    return ConstitutionRecord(
        digest=digest(document),
        name=document["metadata"]["name"],
        version=document["metadata"]["version"],
        document=document,
        signatures=(ConstitutionSignature(key_id=signed.key_id, signature=signed.value),),
        proposed_by="somagent",
        installed_at=datetime.now(UTC),
    )


async def _add_tenant_records(
    db: Database, keyring: KeyRing, tokens: Tokens, library: Library, people: tuple[Principal, ...]
) -> None:
    """Add the tenant's account, the principals and the shipped capsules."""
    async with db.transaction(TENANT) as tx:
        await _open_budget(tx)
        await tx.audit.set_actor(ACTOR)
        # A version of 0 is from before versions, with the capabilities of that time.
        known = {p.subject: p for p in await tx.principals.list() if p.version}
        always = {p.subject for p in local_principals(TENANT)}
        for principal in people:
            # Principals from the settings may have changed since the last start. A revoked one stays revoked.
            there = known.get(principal.subject)
            if there is None or (there.subject not in always and there.state != "revoked"):
                await tx.principals.add(principal, sign=tokens.sign_record)
        await publish_shipped(tx, keyring, library)


async def sign_old_records(tx: Transaction, tokens: Tokens) -> None:
    """Sign the principals and API keys of a tenant that are from before proofs."""
    for principal in await tx.principals.unsigned():
        await tx.principals.sign(principal, tokens.sign_record)
    await tx.api_keys.sign_old(tokens.sign_record)


async def publish_shipped(tx: Transaction, keyring: KeyRing, library: Library) -> None:
    """Publish the shipped capsules for the tenant of a transaction, signed with the installation's key."""
    for capsule in library.capsules:
        signature = sign_digest(keyring, "publisher", capsule.digest())
        await tx.capsules.publish(
            capsule, digest=capsule.digest(), signature=signature.value, key_id=signature.key_id, by="somagent"
        )


async def _open_budget(tx: Transaction) -> None:
    """Give the tenant its allowance at the first start. Later starts do not change the account."""
    try:
        await tx.accounts.get(f"tenant:{TENANT}")
    except NotFound:
        await tx.accounts.allow(f"tenant:{TENANT}", None, TENANT_TERMS, by="somagent")


async def _open_families(
    tx: Transaction, tokens: Tokens, people: tuple[Principal, ...], *, days: int
) -> dict[str, Any]:
    """Return a token of a new family for each local principal who is active. Those of the last start end."""
    found = {}
    for person in people:
        if (await tx.principals.get(person.subject)).state != "active":
            continue
        await tx.token_families.end_client(person.subject, CLIENT, by=ACTOR, reason="the local stack started again")
        claims = RefreshClaims(tenant=TENANT, subject=person.subject, family=uuid.uuid4().hex, generation=1)
        latest = datetime.now(UTC) + timedelta(days=days)
        ends = await tx.token_families.open(str(claims.family), person.subject, client=CLIENT, expires_at=latest)
        access = AccessClaims(tenant=TENANT, subject=person.subject, family=claims.family)
        found[person.subject] = {
            "tenant": TENANT,
            "token": tokens.mint_access(access, ACCESS_SECONDS),
            "expires_at": int(time.time()) + ACCESS_SECONDS,
            "refresh_token": tokens.mint_refresh(claims, int(ends.timestamp())),
        }
    return found


async def audit_installation(tx: Transaction, settings: Settings, keyring: KeyRing) -> None:
    """Add an audit entry for the settings and one for the keys if they differ from the last start."""
    for action, details in (("settings.changed", changed_settings(settings)), ("keys.changed", key_ids(keyring))):
        last = (await tx.audit.list(action=action, limit=1)).items
        if not last or last[0].body["details"] != details:
            await tx.audit.add(ACTOR, action, INSTALLATION, details)


def changed_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that are not the default. A secret is replaced by `set`."""
    found = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value != field.get_default(call_default_factory=True):
            found[name] = "set" if isinstance(value, SecretStr) else _to_json(value)
    return found


def key_ids(keyring: KeyRing) -> dict[str, list[str]]:
    """Return the ids of the valid public keys by purpose, and those of the revoked ones."""
    known = {purpose: sorted(keyring.public[purpose]) for purpose in KEY_PURPOSES}
    return known | {"revoked": sorted(one for ids in keyring.revoked.values() for one in ids)}


def _to_json(value: Any) -> Any:  # noqa: ANN401 - a setting
    """Return a setting as JSON. Values of a mapping, which may be secrets, are left out."""
    if isinstance(value, dict):
        return {str(name): sorted(part) if isinstance(part, dict) else "set" for name, part in value.items()}
    return value if isinstance(value, bool | int) else str(value)
