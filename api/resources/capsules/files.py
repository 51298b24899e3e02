"""A capsule file out of a request body: read, checked for meaning, every problem at once."""

import asyncio

from fastapi import Request

from api.deps import State
from capsules.capsule import Capsule
from capsules.errors import Invalid, NotFound
from capsules.names import parse_reference
from capsules.read_models import Principal
from somagent.capsule_files.check import check
from somagent.capsule_files.document import load


async def read_capsule(request: Request, soma: State, caller: Principal) -> Capsule:
    """Return the checked capsule of a body in YAML or JSON."""
    filename = "capsule.json" if "json" in request.headers.get("content-type", "") else "capsule.yaml"
    try:
        text = (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise Invalid("The body is not UTF-8 text.", problems=[{"path": "body", "message": str(error)}]) from error
    capsule = load(text, filename=filename)
    children = await _children(soma, caller, capsule)
    # A file of the largest size with the longest expressions takes seconds: other requests must not wait for it.
    await asyncio.to_thread(check, capsule, soma.library, children.get, text=text, filename=filename)
    return capsule


async def _children(soma: State, caller: Principal, capsule: Capsule) -> dict[str, Capsule]:
    """Return the published capsules that the tasks name, by reference; one that is missing is left out."""
    found: dict[str, Capsule] = {}
    async with soma.store.transaction(caller.tenant) as tx:
        for reference in {task.capsule for task in capsule.spec.tasks}:
            try:
                found[reference] = (await tx.capsules.get(parse_reference(reference))).capsule
            except NotFound:
                continue
    return found
