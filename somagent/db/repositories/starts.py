"""Starts of runs: claimed once by their first execution, and revoked with their schedule."""

from sqlalchemy import text

from somagent.db.repositories.repository import Repository


class Starts(Repository):
    """The starts of one tenant's runs."""

    async def claim(self, run: str, nonce: str, first_execution: str) -> str | None:
        """Claim the start of a run for its first execution; return why it is refused, or None.

        The same execution can claim it again. nonce: of the start authority, or the parent's execution for a child.
        """
        values = {"run": run, "nonce": nonce, "execution": first_execution}
        refused: str | None = await self.connection.scalar(text("SELECT start_claim(:run, :nonce, :execution)"), values)
        return refused

    async def revoke(self, nonce: str, reason: str, by: str) -> None:
        """Revoke a start authority. Idempotent; runs that it started before continue."""
        values = {"nonce": nonce, "reason": reason, "by": by}
        await self.connection.execute(text("SELECT start_revoke(:nonce, :reason, :by)"), values)
