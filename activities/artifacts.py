"""Artifacts: `artifact.publish` stores content that a run publishes, by its digest."""

from typing import Protocol

from temporalio import activity

from capsules.actions.action import Action
from capsules.actions.activity_context import current_context
from capsules.actions.verdict import Outcome
from capsules.digest import canonical, digest, sha256
from capsules.runs.run import Artifact, ArtifactDraft


class ArtifactStore(Protocol):
    """Port of the artifacts of runs."""

    async def add(self, tenant: str, run: str, artifact: Artifact, data: bytes) -> None:
        """Store the content and list the artifact with its run, both or neither. Idempotent."""
        ...


def publish_action(draft: ArtifactDraft) -> Action:
    """Return the action of a publication."""
    return Action(kind="artifact.publish", target=draft.name, effect="write", arguments=digest(draft))


class ArtifactActivities:
    """Publication of artifacts, with the store injected."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    @activity.defn(name="artifact.publish")
    async def publish(self, draft: ArtifactDraft) -> Outcome[Artifact]:
        """Store content and list it with the run. The same content is one blob, however often it is published."""
        granted = current_context()
        data = draft.content.encode() if isinstance(draft.content, str) else canonical(draft.content)
        artifact = Artifact(name=draft.name, media_type=draft.media_type, digest=sha256(data), size=len(data))
        await self._artifacts.add(granted.tenant, granted.key.run, artifact, data)
        return Outcome(value=artifact)
