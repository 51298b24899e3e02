"""Enrolment: the first action of a governed application's workflow makes it a run, with an account and a constitution.

Parents and continued runs are read from the Temporal server, not from headers: an authority that was copied into
another tree of workflows is refused.
"""

from dataclasses import dataclass, field

from temporalio.client import Client

from capsules.actions.action import Action
from capsules.actions.ledger_messages import Ledger
from capsules.bounded_cache import BoundedCache
from capsules.errors import AuthorityRefused
from capsules.governance.application import Enrolment, Terms
from capsules.identity.authority import Authority, narrow
from somagent.db.database import Database
from somagent.identity.tokens import Tokens
from somagent.temporal.executions import Execution, describe

CACHE_SIZE = 10_000
"""Number of executions whose enrolment a worker keeps in memory."""


@dataclass(frozen=True)
class Enrolments:
    """Enrols runs, and exchanges the authority of their start for one that covers a single action."""

    terms: Terms
    db: Database
    ledger: Ledger
    tokens: Tokens
    _cache: BoundedCache[tuple[str, str], Enrolment] = field(default_factory=lambda: BoundedCache(CACHE_SIZE))

    async def enrol(
        self, client: Client, workflow_id: str, run_id: str, token: str | None
    ) -> tuple[Enrolment, Authority]:
        """Return the run of an execution, which is new at its first action, and the authority of its start.

        Raises AuthorityRefused when the token does not cover the run, Unavailable when Temporal does not answer.
        """
        start = self._verify_start(token)
        enrolment = self._cache.get((workflow_id, run_id))
        if enrolment is None:
            enrolment = await self._find_or_enrol(client, await describe(client, workflow_id, run_id), start)
            self._cache[workflow_id, run_id] = enrolment
        if not start.covers_run(enrolment.root):
            raise AuthorityRefused(
                f"The authority is for {start.run!r}, not for {enrolment.root!r}, which started this."
            )
        return enrolment, start

    def exchange(self, enrolment: Enrolment, start: Authority, action: Action) -> str:
        """Return the token of an authority that covers this action only."""
        return self.tokens.mint_authority(
            narrow(
                start,
                run=enrolment.run,
                capsule=self.terms.application.ref,
                account=enrolment.account,
                kinds=frozenset({action.kind}),
                targets=frozenset({action.target}),
                capsules={},
                constitution=enrolment.constitution,
                autonomy=self.terms.autonomy,
            )
        )

    def _verify_start(self, token: str | None) -> Authority:
        if not token:
            raise AuthorityRefused(
                "The workflow carries no authority; start it through a client that has the governance plugin."
            )
        start = self.tokens.verify(token)
        application = self.terms.application
        names = {ref.partition("@")[0] for ref in start.capsules}
        if start.kind != "start" or start.tenant != application.tenant or application.name not in names:
            raise AuthorityRefused(
                f"The authority is for {', '.join(sorted(names)) or 'a run'} of {start.tenant!r}, "
                f"not for {application.name!r} of {application.tenant!r}."
            )
        return start

    async def _find_or_enrol(self, client: Client, execution: Execution, start: Authority) -> Enrolment:
        application = self.terms.application
        run = application.run(execution.workflow_id, execution.first_run_id)
        async with self.db.transaction(application.tenant) as tx:
            known = await tx.applications.find(run)
        if known is not None:
            return known
        if execution.root_workflow_id == execution.workflow_id:
            await self._claim_start(client, execution, run, start)
            constitution = await self.ledger.active_constitution(application.tenant)
            return await self._enrol(execution, run, run, f"run:{run}", constitution, start)
        # The root may have no run yet. It is enrolled first, because this run spends from its account.
        parent = await describe(client, execution.root_workflow_id, execution.root_run_id)
        if not start.covers_run(application.run(parent.workflow_id, parent.first_run_id)):
            raise AuthorityRefused(f"The authority is for {start.run!r}; workflow {parent.workflow_id!r} started this.")
        root = await self._find_or_enrol(client, parent, start)
        return await self._enrol(execution, run, root.run, root.account, root.constitution, start)

    async def _claim_start(self, client: Client, execution: Execution, run: str, start: Authority) -> None:
        """Raise AuthorityRefused unless the authority is for this start, and was used for no other."""
        execution.require_started_as(start.workflow_type, start.queue)
        if start.schedule is not None:
            await execution.require_schedule(client, start.schedule)
        claimed = run if start.schedule is not None else f"{start.run}{start.nonce}"
        async with self.db.transaction(start.tenant) as tx:
            refused = await tx.starts.claim(claimed, start.nonce, execution.first_run_id)
        if refused is not None:
            raise AuthorityRefused(f"Workflow {execution.workflow_id!r} may not start: {refused}. Start it again.")

    async def _enrol(  # noqa: PLR0913, PLR0917 - what the run pins
        self, execution: Execution, run: str, root: str, account: str, constitution: str, start: Authority
    ) -> Enrolment:
        terms = self.terms
        if not start.covers_run(root):
            raise AuthorityRefused(f"The authority is for {start.run!r}, not for {root!r}.")
        enrolment = Enrolment(
            run=run,
            root=root,
            application=terms.application.ref,
            actor=start.actor,
            namespace=execution.namespace,
            workflow_id=execution.workflow_id,
            workflow_type=execution.workflow_type,
            first_run_id=execution.first_run_id,
            account=account,
            constitution=constitution,
        )
        async with self.db.transaction(terms.application.tenant) as tx:
            if run == root:
                if terms.limit is not None and start.account == f"application:{terms.application.name}":
                    await tx.accounts.carve(f"tenant:{terms.application.tenant}", start.account, terms.limit)
                await tx.accounts.carve(start.account, account, terms.budget)
            return await tx.applications.enter(enrolment)
