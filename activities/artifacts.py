"""Artifacts: `artifact.publish` stores content that a run publishes, by its digest."""

from typing import Protocol

from temporalio import activity

from capsules.actions.action import Action
from capsules.actions.activity_context import current_context
from capsules.actions.verdict import Outcome
from capsules.digest import ContentStore, Digest, canonical, digest
from capsules.runs.run import Artifact, ArtifactDraft


class ArtifactStore(Protocol):
    """Port of the list of a run's artifacts."""

    async def add(self, tenant: str, run: str, artifact: Artifact) -> None: ...


def publish_action(draft: ArtifactDraft) -> Action:
    """Return the action of a publication."""
    return Action(kind="artifact.publish", target=draft.name, effect="write", arguments=digest(draft))


class ArtifactActivities:
    """Publication of artifacts, with content store and list injected."""

    def __init__(self, content: ContentStore, artifacts: ArtifactStore) -> None:
        self._content = content
        self._artifacts = artifacts

    @activity.defn(name="artifact.publish")
    async def publish(self, draft: ArtifactDraft) -> Outcome[Artifact]:
        """Store content and list it with the run. The same content is one blob, however often it is published."""
        granted = current_context()
        data = draft.content.encode() if isinstance(draft.content, str) else canonical(draft.content)
        kept: Digest = await self._content.put(granted.tenant, data, draft.media_type)
        artifact = Artifact(name=draft.name, media_type=draft.media_type, digest=kept, size=len(data))
        await self._artifacts.add(granted.tenant, granted.key.run, artifact)
        return Outcome(value=artifact)
