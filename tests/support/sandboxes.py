"""What Docker says of a run's sandboxes."""

import subprocess


def running_containers(run: str, *options: str) -> list[str]:
    """Return the ids of the run's containers that are running now; with the option `-a`, of all of them."""
    command = ["docker", "ps", "-q", "--filter", f"label=somagent.run={run}", *options]
    listed = subprocess.run(command, check=True, capture_output=True, text=True)
    return listed.stdout.split()
