"""What Docker says of a run's sandboxes."""

import subprocess


def running_containers(run: str) -> list[str]:
    """Return the ids of the run's containers that are running now."""
    listed = subprocess.run(
        ["docker", "ps", "-q", "--filter", f"label=somagent.run={run}"], check=True, capture_output=True, text=True
    )
    return listed.stdout.split()
