"""Enrolment: the first action of a foreign workflow makes it a run of ours, with an account and a constitution.

Which workflow started which, and which run continues which, is asked of the Temporal server and not read from headers:
whoever copies a header into a workflow of another tree is refused.
"""

from dataclasses import dataclass, field

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from capsules.actions.action import Action
from capsules.actions.ledger_messages import Ledger
from capsules.errors import AuthorityRefused, Unavailable
from capsules.governance.application import Enrolment, Terms
from capsules.identity.authority import Authority, narrow
from somagent.db.database import Store
from somagent.identity.tokens import Tokens

REMEMBERED = 10_000
"""Executions whose enrolment a worker keeps in memory; the others are looked up again."""


@dataclass(frozen=True)
class Execution:
    """A workflow as the Temporal server describes it."""

    namespace: str
    workflow_id: str
    workflow_type: str
    first_run_id: str
    root_workflow_id: str
    root_run_id: str


@dataclass(frozen=True)
class Enrolments:
    """Enters runs and exchanges their start's authority for one that covers a single action."""

    terms: Terms
    store: Store
    ledger: Ledger
    tokens: Tokens
    _known: dict[tuple[str, str], Enrolment] = field(default_factory=dict)

    async def of(self, client: Client, workflow_id: str, run_id: str, token: str | None) -> tuple[Enrolment, Authority]:
        """Return the run of an execution and the start's authority. Raises AuthorityRefused unless that covers it."""
        start = self._start(token)
        enrolment = self._known.get((workflow_id, run_id))
        if enrolment is None:
            enrolment = await self._enrolled(client, await described(client, workflow_id, run_id), start)
            while len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[workflow_id, run_id] = enrolment
        if not start.covers_run(enrolment.root):
            raise AuthorityRefused(
                f"The authority is for {start.run!r}, not for {enrolment.root!r}, which started this."
            )
        return enrolment, start

    def exchange(self, enrolment: Enrolment, start: Authority, action: Action) -> str:
        """Return a run's authority for one action: what an activity may do stands in its marker, beside its code."""
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

    def _start(self, token: str | None) -> Authority:
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

    async def _enrolled(self, client: Client, execution: Execution, start: Authority) -> Enrolment:
        application = self.terms.application
        run = application.run(execution.workflow_id, execution.first_run_id)
        async with self.store.transaction(application.tenant) as tx:
            known = await tx.applications.find(run)
        if known is not None:
            return known
        if execution.root_workflow_id == execution.workflow_id:
            constitution = await self.ledger.active_constitution(application.tenant)
            return await self._enter(execution, run, run, f"run:{run}", constitution, start)
        # The root may not have acted yet: it is entered first, with the account that this one spends from.
        above = await described(client, execution.root_workflow_id, execution.root_run_id)
        if not start.covers_run(application.run(above.workflow_id, above.first_run_id)):
            raise AuthorityRefused(f"The authority is for {start.run!r}; workflow {above.workflow_id!r} started this.")
        root = await self._enrolled(client, above, start)
        return await self._enter(execution, run, root.run, root.account, root.constitution, start)

    async def _enter(  # noqa: PLR0913, PLR0917 - what is pinned
        self, execution: Execution, run: str, root: str, account: str, constitution: str, start: Authority
    ) -> Enrolment:
        terms = self.terms
        if not start.covers_run(root):
            raise AuthorityRefused(f"The authority is for {start.run!r}, not for {root!r}.")
        wanted = Enrolment.model_validate(
            {
                "run": run,
                "root": root,
                "application": terms.application.ref,
                "actor": start.actor,
                "namespace": execution.namespace,
                "workflow_id": execution.workflow_id,
                "workflow_type": execution.workflow_type,
                "first_run_id": execution.first_run_id,
                "account": account,
                "constitution": constitution,
            }
        )
        async with self.store.transaction(terms.application.tenant) as tx:
            if run == root:
                if terms.limit is not None and start.account == f"application:{terms.application.name}":
                    await tx.accounts.carve(f"tenant:{terms.application.tenant}", start.account, terms.limit)
                await tx.accounts.carve(start.account, account, terms.budget)
            return await tx.applications.enter(wanted)


async def described(client: Client, workflow_id: str, run_id: str | None) -> Execution:
    """Ask the server about an execution. Raises AuthorityRefused when it knows none, Unavailable when it is silent."""
    try:
        description = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise AuthorityRefused(f"Temporal knows no workflow {workflow_id!r} with the run id {run_id!r}.") from error
        raise Unavailable(f"Temporal cannot describe workflow {workflow_id!r}: {error.message}") from error
    info = description.raw_description.workflow_execution_info
    root = info.root_execution
    return Execution(
        namespace=client.namespace,
        workflow_id=workflow_id,
        workflow_type=info.type.name,
        first_run_id=info.first_run_id or info.execution.run_id,
        root_workflow_id=root.workflow_id or workflow_id,
        root_run_id=root.run_id or info.execution.run_id,
    )
