"""Which constitution a request is about: a document, an installed one by its digest, or the active one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import Field

from api.deps import State
from api.resources.constitutions.service import visible
from capsules.digest import Digest
from capsules.errors import ConstitutionRefused, Invalid
from capsules.read_models import Principal

Subject = Annotated[
    Literal["active"] | Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | dict[str, Any],
    Field(description="`active`, the digest of an installed one, or a document."),
]
Overlays = Annotated[tuple[dict[str, Any], ...], Field(max_length=20, description="Laid over it, in this order.")]


async def document_of(soma: State, caller: Principal, subject: Subject) -> dict[str, Any]:
    """Return the document. Raises NotFound for one that does not concern the caller's tenant."""
    if isinstance(subject, dict):
        return subject
    if subject == "active":
        return (await soma.store.constitutions.active(caller.tenant)).document
    return (await visible(soma, caller, Digest(subject))).document


@contextmanager
def callers_documents() -> Iterator[None]:
    """Call a document that does not read Invalid, with every clause at fault: nobody was denied anything."""
    try:
        yield
    except ConstitutionRefused as error:
        raise Invalid(error.message, **error.fields) from error


async def read[R](soma: State, piece: Callable[[], R]) -> R:
    """Do work with a caller's documents at the proving desk."""
    with callers_documents():
        return await soma.proofs.work(piece)
