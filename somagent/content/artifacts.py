"""The list of what a run handed over, in PostgreSQL."""

from capsules.runs.run import Artifact
from somagent.db.database import Store


class PostgresArtifacts:
    """Implements `activities.artifacts.ArtifactStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, tenant: str, run: str, artifact: Artifact) -> None:
        """List an artifact with its run."""
        async with self._store.transaction(tenant) as tx:
            await tx.artifacts.add(
                run,
                name=artifact.name,
                media_type=artifact.media_type,
                digest=artifact.digest,
                size=artifact.size,
            )
