"""Bootstrap process: `python -m workers.bootstrap`. Prepares a new installation and proves its constitution."""

import asyncio
from typing import Any

from capsules.constitutions.proof import ProofReport
from capsules.digest import Digest
from somagent.local_stack.bootstrap import bootstrap
from somagent.settings import Settings
from somagent.stop_signals import exit_when_refused
from somagent.telemetry import configure_logging


def prove_shipped(document: dict[str, Any], digest: Digest) -> ProofReport:
    """Return the proofs of the shipped constitution's guarantees."""
    # Z3 takes a third of a second to load, and only the first start needs it.
    from policy.language.constitution import parse  # noqa: PLC0415
    from policy.prove.proofs import prove  # noqa: PLC0415

    return prove(parse(document), digest)


def main() -> None:
    settings = Settings()
    configure_logging(settings)
    with exit_when_refused("bootstrap"):
        asyncio.run(bootstrap(settings, prove_shipped))


if __name__ == "__main__":
    main()
