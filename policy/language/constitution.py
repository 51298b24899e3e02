"""The constitution document: weighted features and a threshold, articles, approval rules, guarantees."""

from typing import Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, ValidationError, model_validator

from capsules.actions.action import ActionKind
from capsules.actions.verdict import PPM
from capsules.base_model import StrictModel
from capsules.digest import Digest, digest
from capsules.duration import Duration
from capsules.names import Name, Version
from policy.language.validation_errors import constitution_error, validation_errors_of

STATE = r"^[a-z][a-z0-9_]{0,39}$"
Clause = Name


class Feature(StrictModel):
    """φ: an expression that gives a number from 0 to 1, and its weight w."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    weight: float = Field(gt=0, le=1)
    value: str = Field(min_length=1)


class Score(StrictModel):
    """S(a) = Σ wᵢ·φᵢ(x(a)): allowed from `threshold` on, asked from `ask_from` on, denied below."""

    threshold: float = Field(ge=0, le=1)
    ask_from: float = Field(ge=0, le=1)
    features: tuple[Feature, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ask_from > self.threshold:
            raise ValueError(f"ask_from ({self.ask_from}) is above threshold ({self.threshold})")
        names = [f.name for f in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"two features have one name: {sorted({n for n in names if names.count(n) > 1})}")
        total = sum(in_ppm(f.weight) for f in self.features)
        if total != PPM:
            raise ValueError(f"the weights sum to {total / PPM}; they must sum to 1")
        return self


class Article(StrictModel):
    """A hard rule: where `forbid` holds, nothing else counts."""

    id: Clause
    forbid: str = Field(min_length=1)
    because: str = Field(min_length=1)


class Later(StrictModel):
    """After this long, people with this capability may decide too."""

    after: Duration
    capability: str


class ApprovalRule(StrictModel):
    """Where `ask_when` holds, a person with `capability` must approve."""

    id: Clause
    ask_when: str = Field(min_length=1)
    quorum: int = Field(1, ge=1, le=20, description="How many different people must approve.")
    capability: str = "approval:decide"
    expires: Duration = 86_400
    escalate: tuple[Later, ...] = Field((), description="Who may decide when nobody has; soonest first.")
    because: str = Field(min_length=1)


class Guarantee(StrictModel):
    """A property of the whole constitution, to be proved before it is activated.

    Either `never` (a condition that no action meets; it may also say allowed, asked, denied, score), or `raising` with
    `never_flips`: an action that differs from another only in a more dangerous value is not decided more leniently.
    """

    id: Clause
    never: str | None = None
    raising: str | None = None
    never_flips: Literal["deny_to_allow", "deny_to_ask", "ask_to_allow"] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.never is None) == (self.raising is None) or (self.raising is None) != (self.never_flips is None):
            raise ValueError(f"guarantee {self.id!r} has either `never`, or `raising` with `never_flips`")
        return self


class Transition(StrictModel):
    """Moves a sequence on when an action for which `when` holds takes place."""

    model_config = ConfigDict(populate_by_name=True)

    start: str = Field(alias="from", pattern=STATE)
    when: str = Field(min_length=1)
    to: str = Field(pattern=STATE)


class Sequence(StrictModel):
    """A small automaton over the actions of a run; clauses read its state as `sequences.<id>`."""

    id: str = Field(pattern=STATE)
    start: str = Field(pattern=STATE)
    transitions: tuple[Transition, ...] = Field(min_length=1, max_length=64)
    because: str = Field(min_length=1)

    @property
    def states(self) -> tuple[str, ...]:
        """Return every state, the start first, in the order in which they are named."""
        named = [self.start, *(s for t in self.transitions for s in (t.start, t.to))]
        return tuple(dict.fromkeys(named))


class ConstitutionMetadata(StrictModel):
    name: Name
    version: Version
    overlays: tuple[str, ...] = Field((), description="What was laid over the base, in order.")


class Constitution(StrictModel):
    model_config = ConfigDict(populate_by_name=True)

    api_version: Literal["somagent/v1"] = Field(alias="apiVersion")
    kind: Literal["Constitution"]
    metadata: ConstitutionMetadata
    kinds: tuple[ActionKind, ...] = Field(
        get_args(ActionKind), description="Kinds of action that exist at all; any other is denied."
    )
    score: Score
    sequences: tuple[Sequence, ...] = Field((), max_length=16)
    articles: tuple[Article, ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    guarantees: tuple[Guarantee, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        ids = [c.id for c in self.articles] + [c.id for c in self.approvals] + [c.id for c in self.guarantees]
        ids += [sequence.id for sequence in self.sequences] + [feature.name for feature in self.score.features]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"two clauses have one id: {', '.join(twice)}")
        return self


def in_ppm(share: float) -> int:
    """Return a share (never negative) as whole parts per million: what scores are computed in.

    Halves go up, also one that floating point shows a trace too small: so every machine, and every proof, agrees.
    """
    return int(share * PPM + 0.5 + 1e-7)


def parse(document: dict[str, Any]) -> Constitution:
    """Return the constitution of a document. Raises ConstitutionRefused naming every clause that is wrong."""
    try:
        return Constitution.model_validate(document)
    except ValidationError as error:
        raise constitution_error("The constitution does not read", validation_errors_of(error, document)) from error


def document_digest(document: dict[str, Any]) -> Digest:
    """Return the digest that is signed: over the document as it stands, before any default is filled in."""
    return digest(document)
