"""Work of the capsule routes: read and check a capsule file, and publish it."""

import asyncio

from fastapi import Request

from api.deps import State
from capsules.capsule import Capsule, PublishedCapsule
from capsules.errors import Invalid, NotFound
from capsules.identity.principal import Principal
from capsules.names import parse_reference
from somagent.capsule_files.check import check
from somagent.capsule_files.document import load
from somagent.identity.signatures import sign_digest


async def read_capsule(request: Request, state: State, caller: Principal) -> Capsule:
    """Return the checked capsule of a body in YAML or JSON. Raises Invalid that lists every problem."""
    filename = "capsule.json" if "json" in request.headers.get("content-type", "") else "capsule.yaml"
    try:
        text = (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise Invalid(
            "The body is not UTF-8 text. Save the file as UTF-8.", problems=[{"path": "body", "message": str(error)}]
        ) from error
    capsule = load(text, filename=filename)
    children = await _published_tasks(state, caller, capsule)
    # Checking the largest file takes seconds: other requests must not wait for it.
    await asyncio.to_thread(check, capsule, state.library, children.get, text=text, filename=filename)
    return capsule


async def publish(state: State, caller: Principal, capsule: Capsule) -> PublishedCapsule:
    """Sign and publish a capsule. Raises Conflict when the version exists with another content."""
    digest = capsule.digest()
    signed = sign_digest(state.keyring, "publisher", digest)
    async with state.db.transaction(caller.tenant) as tx:
        return await tx.capsules.publish(
            capsule, digest=digest, signature=signed.value, key_id=signed.key_id, by=caller.subject
        )


async def _published_tasks(state: State, caller: Principal, capsule: Capsule) -> dict[str, Capsule]:
    """Return the published capsules of the tasks by reference. A reference without a published capsule is left out."""
    found: dict[str, Capsule] = {}
    async with state.db.transaction(caller.tenant) as tx:
        for reference in {task.capsule for task in capsule.spec.tasks}:
            try:
                found[reference] = (await tx.capsules.get(parse_reference(reference))).capsule
            except NotFound:
                continue
    return found
