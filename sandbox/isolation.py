"""Isolation of a sandbox: the configuration of its container, in one place."""

from pathlib import Path
from typing import Any

from capsules.tools.tool import ContainerSpec, SeccompProfile
from sandbox.image_recipe import USER
from sandbox.seccomp import profile_digest, seccomp_profile

GRACE_SECONDS = 10
SECCOMP = "somagent.seccomp"
LOG_OVERHEAD = 2  # base64 and entry headers take less than the output again


def container_config(
    spec: ContainerSpec, *, runtime: str | None, profile: SeccompProfile, labels: dict[str, str]
) -> dict[str, Any]:
    """Return the body of the engine's create request."""
    limits = spec.limits
    gvisor = runtime is not None and runtime.startswith("runsc")
    supervisor = Path(__file__).with_name("supervisor.py").read_text()
    report_bytes = max(1 << 20, 2 * limits.output_bytes * LOG_OVERHEAD)
    space = f"rw,noexec,nosuid,nodev,nr_inodes=65536,mode=0700,uid={USER},gid={USER}"
    work, temporary = limits.tmpfs_bytes, limits.tmpfs_bytes + len(spec.stdin.encode())  # standard input is kept there
    host: dict[str, Any] = {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile(profile, gvisor=gvisor)}"],
        "Privileged": False,
        "IpcMode": "private",
        "PidMode": "",
        "PidsLimit": limits.pids,
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,  # the sum of both: no swap
        "NanoCpus": int(limits.cpus * 1e9),
        "ShmSize": min(limits.tmpfs_bytes, 16 * 2**20),
        "Tmpfs": {"/work": f"{space},size={work}", "/tmp": f"{space},size={temporary}"},  # noqa: S108 - its own
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": 1024, "Hard": 1024},
            {"Name": "fsize", "Soft": limits.tmpfs_bytes, "Hard": limits.tmpfs_bytes},
        ],
        # The supervisor cuts output long before this; the log's own limit is the second one.
        "LogConfig": {"Type": "local", "Config": {"max-size": str(report_bytes), "max-file": "2", "compress": "false"}},
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "Init": False,  # the supervisor is PID 1: it reaps, and it cannot be killed from inside
    }
    if runtime is not None:
        host["Runtime"] = runtime
    return {
        "Image": spec.image,
        "Entrypoint": ["python3", "-I", "-S", "-c", supervisor],
        "Cmd": [str(limits.seconds), str(limits.output_bytes)],
        "User": f"{USER}:{USER}",
        "WorkingDir": "/work",
        "Hostname": "sandbox",
        "Env": [],
        "Labels": labels | {SECCOMP: f"{profile} {profile_digest(profile, gvisor=gvisor)}"},
        # Files and code come through standard input, in one go, since nothing can be copied into a tmpfs before the
        # start and a bind mount would show the host. StdinOnce: when the sender dies the supervisor sees the end of its
        # input too early and ends without having begun the command, so that a retry may begin it.
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",
        "NetworkDisabled": True,
        "HostConfig": host,
    }
