"""Proposals of constitutions. Each step of the workflow writes its result here, so the record outlives the workflow."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from capsules.base_model import Page
from capsules.constitutions.proposal import SETTLED, ActivationRecord, Change
from capsules.digest import Digest
from capsules.errors import Conflict, Denied, NotFound
from somagent.db.pages import read_page
from somagent.db.repositories.attestations import Attestations
from somagent.db.repositories.outbox import Publisher
from somagent.db.schema.tables import constitution_proposals as proposals
from somagent.db.schema.tables import from_row


class Proposals(Publisher):
    """The proposals of one tenant."""

    async def enter(  # noqa: PLR0913 - what a proposal says
        self, id_: str, change: Change, *, request: Digest, by: str, quorum: int, expires_at: datetime, token: str
    ) -> tuple[ActivationRecord, bool]:
        """Enter a proposal and tell whether it is new. The same request returns it; another one raises Conflict.

        token: the proposer's attestation.
        """
        values = {
            "digest": change.constitution,
            **change.model_dump(include={"scope", "stage", "reason", "narrows", "clears"}),
            "change": change.digest(),
            "request": request,
            "proposed_by": by,
            "quorum": quorum,
            "expires_at": expires_at,
            "attestation": func.attestation_use(token),
        }
        created = await self.connection.execute(
            insert(proposals).values(tenant_id=self.tenant, id=id_, **values).on_conflict_do_nothing()
        )
        known = await self.connection.scalar(select(proposals.c.request).where(proposals.c.id == id_))
        if known != request:
            raise Conflict(f"Activation {id_!r} was proposed with another request. Use another idempotency key.")
        return await self.get(id_), bool(created.rowcount)

    async def get(self, id_: str) -> ActivationRecord:
        """Return a proposal. Raises NotFound."""
        row = await self._first(select(proposals).where(proposals.c.id == id_))
        if row is None:
            raise NotFound(f"There is no activation {id_!r}.", activation=id_)
        return _record(row)

    async def list(
        self, cursor: str | None = None, limit: int = 50, of: Digest | None = None
    ) -> Page[ActivationRecord]:
        """Return a page, newest first. of: only those of this constitution."""
        query = select(proposals)
        if of:
            query = query.where(proposals.c.digest == of)
        keys = (proposals.c.proposed_at, proposals.c.id)
        return await read_page(self.connection, query, keys, _record, cursor=cursor, limit=limit)

    async def digests(self) -> frozenset[Digest]:
        """Return the digests of all constitutions that this tenant proposed."""
        query = select(proposals.c.digest).where(proposals.c.digest.is_not(None)).distinct()
        return frozenset(Digest(str(one)) for one in (await self.connection.scalars(query)).all())

    async def update(self, id_: str, **values: Any) -> None:  # noqa: ANN401 - columns
        """Write the results of a step. Once it is settled, only the answer of SomaBrain can be written."""
        query = update(proposals).where(proposals.c.id == id_)
        if values.keys() != {"somabrain"}:
            query = query.where(proposals.c.state.not_in(SETTLED))
        await self.connection.execute(query.values(updated_at=func.clock_timestamp(), **values))

    async def request_approval(self, id_: str) -> None:
        """Let a proposal wait for approval, and publish an event. Idempotent. Raises NotFound."""
        if (await self.get(id_)).state == "awaiting_approval":
            return
        await self.update(id_, state="awaiting_approval")
        proposal = await self.get(id_)
        data = proposal.model_dump(
            mode="json", include={"constitution", "scope", "stage", "reason", "against", "proposed_by", "missing"}
        )
        await self._publish("approval.events", "constitution.proposed", None, data | {"activation": id_})

    async def record_vote(self, id_: str, *, approve: bool, by: str, token: str, comment: str) -> ActivationRecord:
        """Record a yes or a no. token: its attestation, verified by the caller.

        Raises Conflict unless it waits for one, Denied when the proposer approves.
        """
        row = await self._first(select(proposals).where(proposals.c.id == id_).with_for_update())
        if row is None:
            raise NotFound(f"There is no activation {id_!r}.", activation=id_)
        known = _record(row)
        if known.state != "awaiting_approval":
            if by in known.approved_by and approve:
                return known  # a retry of ours
            raise Conflict(f"Activation {id_!r} is {known.state}; it does not wait for approval.", state=known.state)
        if approve and by == known.proposed_by:
            raise Denied(f"Separation of duties: {by!r} proposed this and cannot approve it.", activation=id_)
        vote = await Attestations(self.connection, self.tenant).use(token)
        values: dict[str, Any] = {"vote": vote, "comments": _add_comment(known, by, comment)}
        if not approve:
            await self.update(id_, state="rejected", rejected_by=by, why=comment or f"{by} said no.", **values)
            return await self.get(id_)
        agreed = [*known.approved_by, *([] if by in known.approved_by else [by])]
        values["approved_by"] = agreed
        if len(agreed) >= known.quorum:
            values["state"] = "approved"
        await self.update(id_, **values)
        return await self.get(id_)

    async def activate(self, id_: str) -> int:
        """Activate an approved proposal; return the number of the activation. Raises Conflict after another change."""
        number: int = (
            await self.connection.execute(text("SELECT constitution_activate(:id)"), {"id": id_})
        ).scalar_one()
        return number

    async def end_shadow(self, scope: str, *, by: str) -> None:
        """End the shadow of a scope."""
        await self.connection.execute(text("SELECT constitution_unshadow(:scope, :by)"), {"scope": scope, "by": by})


def _add_comment(known: ActivationRecord, by: str, comment: str) -> dict[str, str]:
    return known.comments | ({by: comment} if comment else {})


def _record(row: Row[Any]) -> ActivationRecord:
    missing = 0 if row.state in {*SETTLED, "approved"} else max(0, row.quorum - len(row.approved_by))
    return from_row(ActivationRecord, row, tenant=row.tenant_id, constitution=row.digest, missing=missing)
