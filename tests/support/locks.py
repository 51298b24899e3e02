"""Locks of runs, as admission makes them, for tests that enter a run without one."""

from collections.abc import Sequence

from capsules.capsule import Capsule, MemoryUse, Recall
from capsules.digest import digest
from capsules.runs.lock import Lock
from capsules.tools.tool import Tool


def lock_of(capsule: Capsule, tools: Sequence[Tool]) -> Lock:
    """Return the lock of a capsule with these tools, which may also recall and remember."""
    memory = MemoryUse(recall=Recall(), remember="summary")
    recalling = capsule.model_copy(update={"spec": capsule.spec.model_copy(update={"memory": memory})})
    return Lock(
        capsule=recalling,
        capsule_digest=recalling.digest(),
        tools={tool.name: tool for tool in tools},
        constitution=digest({}),
    )
