"""Authority of an activity: checks the header of a call against what Temporal says about the activity.

Whoever reaches Temporal can ask a worker for any activity. So the header, which only a worker can write, names the one
call that it is for: activity, type, execution and arguments. Its authority token says for which workflow it acts. Run
and tenant of an activity come from there, never from its arguments.
"""

from dataclasses import dataclass, field

from pydantic import ValidationError
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter
from temporalio.service import RPCError, RPCStatusCode

from capsules.actions.headers import ActivityHeader, CutOver, received_arguments
from capsules.actions.ledger_messages import AttemptKey, tenant_of
from capsules.bounded_cache import BoundedCache
from capsules.constitutions.proposal import STEPS
from capsules.errors import AuthorityRefused, Unavailable
from capsules.identity.authority import Authority, AuthorityVerifier

CACHE_SIZE = 10_000
"""Number of executions whose first execution a worker keeps in memory."""


@dataclass(frozen=True)
class ActivityAuthority:
    """Reads and checks the header of each activity."""

    verifier: AuthorityVerifier
    cut_over: CutOver = field(default_factory=CutOver)
    _first: BoundedCache[tuple[str, str], str] = field(default_factory=lambda: BoundedCache(CACHE_SIZE))

    def attempt(self, info: activity.Info) -> AttemptKey:
        """Return the key of this attempt. Raises AuthorityRefused for an activity that no workflow called."""
        if info.workflow_id is None or info.workflow_run_id is None:
            raise AuthorityRefused(
                f"Activity {info.activity_type!r} was started by itself. Only a workflow of the platform may call it."
            )
        return AttemptKey(
            tenant=tenant_of(info.workflow_id),
            run=info.workflow_id,
            execution=info.workflow_run_id,
            activity=info.activity_id,
            attempt=info.attempt,
        )

    def call(self, header: Payload | None, info: activity.Info) -> ActivityHeader:
        """Return the header. Raises AuthorityRefused when it is missing or not for exactly this call."""
        if self.cut_over.covers(info.workflow_id, info.scheduled_time):
            token = PayloadConverter.default.from_payload(header, str) if header is not None else ""
            return ActivityHeader(
                authority=token, activity=None, type=info.activity_type, execution="", arguments=received_arguments()
            )
        call = _read(header, info)
        wanted = {
            "activity": info.activity_id if call.activity or info.workflow_id not in self.cut_over.workflows else None,
            "type": info.activity_type,
            "execution": info.workflow_run_id,
            "arguments": received_arguments(),
        }
        for name, value in wanted.items():
            if (said := getattr(call, name)) != value:
                raise AuthorityRefused(
                    f"The header is for the {name} {said!r}, not for {value!r}: it was copied from another call."
                )
        return call

    async def check_chain(self, token: str, info: activity.Info) -> Authority:
        """Return the authority. Raises AuthorityRefused when this workflow and execution may not present it.

        A run's authority is for the execution that was admitted and for its continuations (continue-as-new, reset). It
        may have expired: a run whose authority has expired must still be closed. The gate checks the time.
        """
        authority = self.verifier.verify(token, expired=True)
        own = authority.kind != "run" or authority.run == info.workflow_id  # else a child presents its parent's
        if own and authority.workflow_type and info.workflow_type != authority.workflow_type:
            raise AuthorityRefused(
                f"The authority is for a workflow of type {authority.workflow_type!r}, not for {info.workflow_type!r}."
            )
        admitted, present = authority.execution, info.workflow_run_id
        if not own or admitted is None or present is None or admitted == present:
            return authority
        first = await self._first_of(authority.run, present)
        if first != admitted and first != await self._first_of(authority.run, admitted):
            raise AuthorityRefused(
                f"The authority is for the execution {admitted} of run {authority.run!r}. Execution {present} is not "
                "a continuation of it."
            )
        return authority

    async def identify(self, token: str, info: activity.Info) -> Authority:
        """Return the authority of a platform activity. Raises AuthorityRefused."""
        run = info.workflow_id or ""
        if not token and self.cut_over.covers(info.workflow_id, info.scheduled_time):
            return Authority(kind="start", tenant=tenant_of(run), actor="", run=run, account="", expires_at=0)
        authority = await self.check_chain(token, info)
        own = info.activity_type in authority.kinds if authority.kind == "platform" else info.activity_type not in STEPS
        if not own:
            raise AuthorityRefused(f"A {authority.kind} authority does not cover the activity {info.activity_type!r}.")
        if authority.tenant != tenant_of(run) or not authority.covers_run(run):
            raise AuthorityRefused(f"The authority is for {authority.run!r}, not for {run!r}.")
        return authority

    async def _first_of(self, workflow: str, execution: str) -> str:
        """Return the first execution of a chain, as Temporal says. Raises AuthorityRefused, Unavailable."""
        known = self._first.get((workflow, execution))
        if known is None:
            handle = activity.client().get_workflow_handle(workflow, run_id=execution)
            try:
                info = (await handle.describe()).raw_description.workflow_execution_info
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise AuthorityRefused(f"Temporal knows no execution {execution} of {workflow!r}.") from error
                raise Unavailable(f"Temporal cannot describe {workflow!r}: {error.message}") from error
            known = info.first_run_id or execution
            self._first[workflow, execution] = known
        return known


def _read(header: Payload | None, info: activity.Info) -> ActivityHeader:
    if header is None:
        raise AuthorityRefused(
            f"Activity {info.activity_type!r} came without an authority: no workflow of this platform asked for it."
        )
    try:
        return ActivityHeader.model_validate(PayloadConverter.default.from_payload(header))
    except (ValidationError, KeyError, RuntimeError) as error:
        raise AuthorityRefused(
            f"The authority of activity {info.activity_type!r} cannot be read, or is not for this activity."
        ) from error
