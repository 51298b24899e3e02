"""Check of the ports of the stack: the error names the holder of a port and the setting that moves the part."""

import errno
import socket
from collections.abc import Iterable

import psutil

from somagent.local_stack.errors import PortTaken
from somagent.local_stack.part import ListenPort, Part


def require_free(parts: Iterable[Part], host: str) -> None:
    """Raise PortTaken with every port that is taken."""
    taken = [
        describe_conflict(part.name, listening, host)
        for part in parts
        for listening in part.listens
        if not is_free(host, listening.port)
    ]
    if taken:
        raise PortTaken("\n".join(taken))


def is_free(host: str, port: int) -> bool:
    """Return whether a server can listen on a port of the host now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: without it, connections in TIME_WAIT of a stopped server would block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def describe_conflict(part: str, listening: ListenPort, host: str) -> str:
    """Return the message for a taken port."""
    return (
        f"Port {listening.port} of {part} on {host} is taken{_holder(listening.port)}. "
        f"Stop that process, or move the part: {listening.setting}={listening.port + 1} somagent up"
    )


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listens and connection.pid:
            try:
                return f" by {psutil.Process(connection.pid).name()!r} (process {connection.pid})"
            except psutil.Error:
                return f" by process {connection.pid}"
    return ""
