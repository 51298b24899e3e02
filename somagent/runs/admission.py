"""Admission of a run: fixes the lock, carves the budget, and exchanges the start authority for a run authority."""

from dataclasses import dataclass, field

from capsules.capsule import Capsule
from capsules.digest import Digest
from capsules.errors import ConstitutionRefused, Invalid
from capsules.identity.authority import Authority, narrow
from capsules.models.chat import Price
from capsules.names import parse_reference
from capsules.runs.lock import Lock
from capsules.runs.run import Admission, StartCapsule
from capsules.tools.tool import Tool
from somagent.capsule_files.library import Library
from somagent.db.database import Database
from somagent.db.transaction import Transaction
from somagent.forecasts.run_forecasts import MAX_DEPTH, ForecasterCache, run_shape, today
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import verify_capsule
from somagent.identity.tokens import Tokens
from somagent.models.profiles import Profiles


@dataclass
class DeclaredActions:
    """The actions that a capsule and its descendants declare: kinds, targets, and the capsules that they may start."""

    kinds: set[str] = field(default_factory=lambda: {"capsule.start", "artifact.publish"})
    targets: set[str] = field(default_factory=set)
    children: dict[str, Capsule] = field(default_factory=dict)
    """By the reference that a task names. Each is loaded and verified once."""

    @property
    def capsules(self) -> dict[str, Digest]:
        """The digests of the children by `name@version`."""
        return {child.ref: child.digest() for child in self.children.values()}

    @property
    def composites(self) -> frozenset[str]:
        """The children that are composites, as `name@version`."""
        return frozenset(child.ref for child in self.children.values() if child.spec.type == "composite")


class CapsuleAdmissions:
    """Implements `capsules.runs.run.Admissions`."""

    def __init__(  # noqa: PLR0913 - what admission consults
        self,
        db: Database,
        keyring: KeyRing,
        library: Library,
        *,
        profiles: Profiles,
        image: str,
        forecasters: ForecasterCache,
    ) -> None:
        self._db = db
        self._forecasters = forecasters
        self._keyring = keyring
        self._tokens = Tokens(keyring)
        self._library = library
        self._profiles = profiles
        self._image = image

    async def admit(self, request: StartCapsule, *, run: str, execution: str, authority: Authority) -> Admission:
        """Admit a run. Idempotent: a retry gets the same account, and a lock of the same digests.

        Raises Invalid when the authority covers other content or composites nest too deep, ConstitutionRefused when no
        constitution is active or it is revoked, NotFound for a missing capsule or tool, TamperedContent for an altered
        capsule, and BudgetExhausted when the parent account cannot cover the budget.
        """
        if authority.capsules.get(request.capsule) != request.digest:
            raise Invalid(f"The authority covers another content of {request.capsule!r} than {request.digest}.")
        constitutions = self._db.constitutions
        constitution = authority.constitution or await constitutions.require_active_digest(authority.tenant)
        if await constitutions.is_revoked(constitution):
            raise ConstitutionRefused(f"The constitution {constitution} was revoked; start the run again.")
        forecaster = await self._forecasters.of(authority.tenant)
        async with self._db.transaction(authority.tenant) as tx:
            capsule = await self._load_verified(tx, request.capsule, request.digest)
            declared = DeclaredActions()
            await self._collect_actions(tx, capsule, declared)
            # A retry keeps the lock that was written first: it is sealed.
            kept = await tx.runs.lock(run)
            lock = Lock.model_validate(kept) if kept else self._lock(capsule, request.digest, declared, constitution)
            limit = request.budget or capsule.spec.budget.amounts()
            account = await tx.accounts.carve_run(
                authority.account, f"run:{run}", limit, seconds=capsule.spec.budget.wall_clock
            )
            granted = narrow(
                authority,
                run=run,
                execution=execution,
                capsule=request.capsule,
                account=account.id,
                kinds=frozenset(declared.kinds),
                targets=frozenset(declared.targets),
                capsules=declared.capsules,
                constitution=lock.constitution,
                autonomy=capsule.spec.guardrails.autonomy,
                lock=lock.digest(),
            )
            await tx.runs.admit(
                run, digest=request.digest, parent=request.parent, account=account.id, lock=lock.model_dump(mode="json")
            )
            shape = run_shape(capsule, declared.children, self._profiles, input_length=request.input_length)
            await tx.forecasts.keep(run, shape, forecaster.forecast(shape, bound=account.limit, price=lock.price))
        return Admission(
            lock=lock, authority=self._tokens.mint_authority(granted), account=account.id, limit=account.limit
        )

    async def _load_verified(self, tx: Transaction, ref: str, digest: Digest | None) -> Capsule:
        published = await tx.capsules.get(parse_reference(ref))
        if digest is not None and published.digest != digest:
            raise Invalid(f"Capsule {ref!r} has the digest {published.digest}, not {digest}.")
        return verify_capsule(self._keyring, published)

    async def _collect_actions(
        self, tx: Transaction, capsule: Capsule, declared: DeclaredActions, depth: int = 0
    ) -> None:
        """Add the actions of this capsule and its descendants to `declared`."""
        if depth > MAX_DEPTH:
            raise Invalid(f"Composite capsules nest more than {MAX_DEPTH} deep, at {capsule.ref!r}.")
        spec = capsule.spec
        if spec.model is not None:
            declared.kinds |= {"slm.chat", "slm.embed"}
        if spec.memory.recall is not None:
            declared.kinds.add("memory.recall")
        if spec.memory.remember != "nothing":
            declared.kinds.add("memory.remember")
        if spec.tools:
            declared.kinds.add("tool.invoke")
        if depth == 0:
            # A composite declares its children's tools too, so the signature of the parent covers them.
            tools = self._tools(capsule)
            declared.targets |= {tools[_name(use.use)].target(action) for use in spec.tools for action in use.actions}
        for task in spec.tasks:
            if task.capsule not in declared.children:
                declared.children[task.capsule] = await self._load_verified(tx, task.capsule, None)
            await self._collect_actions(tx, declared.children[task.capsule], declared, depth + 1)

    def _lock(self, capsule: Capsule, digest: Digest, declared: DeclaredActions, constitution: Digest) -> Lock:
        tasks = {task.id: declared.children[task.capsule].ref for task in capsule.spec.tasks}
        persona, model = capsule.spec.persona, capsule.spec.model
        profile = self._profiles.of(model.role) if model else None
        digests = declared.capsules
        return Lock(
            capsule=capsule,
            capsule_digest=digest,
            persona=self._library.persona(parse_reference(persona)) if persona else None,
            tools=self._tools(capsule),
            children={ref: digests[ref] for ref in tasks.values()},
            task_capsules=tasks,
            composites=declared.composites,
            model=profile.model if profile else "",
            price=self._profiles.price(model.role, today()) if model else Price(),
            cheaper={
                rule.role: self._profiles.price(rule.role, today())
                for rule in capsule.spec.budget.on_pressure
                if rule.role
            },
            price_book=self._profiles.prices.digest() if model and self._profiles.prices else None,
            image=self._image if capsule.spec.tools else "",
            constitution=constitution,
        )

    def _tools(self, capsule: Capsule) -> dict[str, Tool]:
        return {_name(use.use): self._library.tool(parse_reference(use.use)) for use in capsule.spec.tools}


def _name(reference: str) -> str:
    return parse_reference(reference).name
