"""Supervisor, PID 1 of a sandbox: reads the input, runs one command, reports its outcome and always ends in time.

It runs inside the container, from source, with the Python of the image. So it imports a few modules of the standard
library and no others. It reads a key and what `sandbox.wire` wrote from its standard input. It reports in lines on its
standard output:

    b                     the whole input has arrived; the command begins now
    o… and e…             base64 of what the command wrote to standard output and standard error
    f…                    base64 of the reason why the command was not begun
    x code cut late oom ms    the end: exit code, three flags and the duration

A report without `b` is proof that the command never ran. Base64 keeps every byte, and makes a flood of empty lines cost
the engine one log entry and not a million.

Each line ends with a code over its number and its content, made with the key. The key is in the memory of this process
only, which the command cannot read. A command that opens the standard output of this process (gVisor allows it) can
spoil the report, but cannot write a line of it.
"""

# pathlib and contextlib would cost every sandbox ten milliseconds to import.
# ruff: noqa: PTH103, PTH108, PTH118, PTH120, PTH123, SIM105

import binascii
import ctypes
import os
import select
import signal
import sys
import time

# As hashlib.blake2b, which would load OpenSSL first: ten milliseconds in every sandbox.
from _blake2 import blake2b

WORK = "/work"
STDIN = "/tmp/.stdin"  # noqa: S108 - the sandbox's own
CHUNK = 12_000  # as base64 below the 16 KiB that engines take as one log entry
KEY_BYTES = 32
CODE_BYTES = 16
INCOMPLETE = 121
PR_SET_DUMPABLE = 4
OOM_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


def read_exactly(size: int) -> bytes:
    """Return that many bytes of the input. Ends the process when the sender is gone: the next attempt begins again."""
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            os._exit(INCOMPLETE)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_number() -> int:
    return int.from_bytes(read_exactly(8), "big")


def read_field() -> bytes:
    return read_exactly(read_number())


class Report:
    """The report on standard output."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.lines = 0

    def write(self, kind: bytes, data: bytes = b"") -> None:
        """Write one line."""
        content = kind + data
        code = blake2b(b"%d " % self.lines + content, key=self.key, digest_size=CODE_BYTES).hexdigest()
        self.lines += 1
        line = content + b" " + code.encode() + b"\n"
        while line:
            line = line[os.write(1, line) :]


def receive() -> tuple[list[bytes], dict[bytes, bytes], int]:
    """Return command, environment and a descriptor of its standard input, once every file is in place."""
    command = [read_field() for _ in range(read_number())]
    environment = dict(read_field().split(b"=", 1) for _ in range(read_number()))
    stdin = store_stdin(read_field())
    for _ in range(read_number()):
        path = os.path.join(WORK.encode(), read_field())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(read_field())
    if read_exactly(3) != b"end":
        os._exit(INCOMPLETE)
    return command, environment, stdin


def store_stdin(content: bytes) -> int:
    """Return a descriptor to read the content from: a file in memory, without a name and without the right to run it.

    Not memfd_create(2): a program could execute its file, although the file systems of the sandbox are `noexec`.
    """
    with open(STDIN, "xb") as sink:
        sink.write(content)
    reading = os.open(STDIN, os.O_RDONLY)
    os.unlink(STDIN)
    return reading


def killed_for_memory() -> bool:
    for path in OOM_COUNTERS:
        try:
            with open(path) as counters:
                return any(line.split()[0] == "oom_kill" and line.split()[1] != "0" for line in counters)
        except OSError:
            continue
    return False


class SupervisedCommand:
    """One command, watched until none of its processes is left."""

    def __init__(self, report: Report, seconds: float, output_bytes: int) -> None:
        self.report = report
        self.output_bytes = output_bytes
        self.remaining: dict[int, int] = {}
        self.kinds: dict[int, bytes] = {}
        self.cut = self.late = False
        self.code: int | None = None
        self.pid = 0
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.poll = select.poll()
        self.wake, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        os.set_blocking(self.wake, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(self.wake, select.POLLIN)

    def pipe(self, kind: bytes) -> int:
        mine, theirs = os.pipe()
        self.kinds[mine], self.remaining[mine] = kind, self.output_bytes
        self.poll.register(mine, select.POLLIN)
        return theirs

    def begin(self, command: list[bytes], environment: dict[bytes, bytes], stdin: int) -> None:
        """Start the command. A command that cannot be started ends like in a shell, with 127 or 126."""
        out, err = self.pipe(b"o"), self.pipe(b"e")
        try:
            self.pid = os.posix_spawnp(
                command[0],
                command,
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, at) for at, fd in enumerate((stdin, out, err))],
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except OSError as error:
            os.write(err, b"%s: %s\n" % (command[0], os.strerror(error.errno or 0).encode()))
            self.code = 127 if isinstance(error, FileNotFoundError) else 126
        for fd in (stdin, out, err):
            os.close(fd)

    def watch(self) -> int:
        """Forward output until the command ends, kill the processes that it left, and return the exit code."""
        while self.code is None:
            self.forward_output(max(self.deadline - time.monotonic(), 0))
            self.reap()
            if self.code is None and time.monotonic() >= self.deadline:
                self.late = True
                self.deadline += 1
                self.kill()
        self.kill()
        until = time.monotonic() + 2
        while self.remaining and time.monotonic() < until:
            self.forward_output(0.1)
            self.reap()
        return self.code

    def kill(self) -> None:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def forward_output(self, seconds: float) -> None:
        for fd, _ in self.poll.poll(seconds * 1000):
            data = os.read(fd, 65536)
            if fd == self.wake:
                continue
            if not data:
                self.poll.unregister(fd)
                del self.remaining[fd]
                continue
            kept = data[: self.remaining[fd]]
            self.remaining[fd] -= len(kept)
            self.cut = self.cut or len(kept) < len(data)
            for at in range(0, len(kept), CHUNK):
                self.report.write(self.kinds[fd], binascii.b2a_base64(kept[at : at + CHUNK], newline=False))

    def reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code


def main() -> None:
    seconds, output_bytes = float(sys.argv[1]), int(sys.argv[2])
    # All processes run as one user. The command must not trace this one or open its files: it could forge the report.
    if ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        os._exit(INCOMPLETE)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    os.umask(0o022)
    os.chdir(WORK)
    report = Report(read_exactly(KEY_BYTES))
    try:
        command, environment, stdin = receive()
    except OSError as error:
        report.write(b"f", binascii.b2a_base64(str(error).encode(), newline=False))
        os._exit(INCOMPLETE)
    run = SupervisedCommand(report, seconds, output_bytes)
    report.write(b"b")
    run.begin(command, environment, stdin)
    code = run.watch()
    duration = int((time.monotonic() - run.started) * 1000)
    report.write(b"x", b" %d %d %d %d %d" % (code, run.cut, run.late, killed_for_memory(), duration))
    os._exit(code)


if __name__ == "__main__":
    main()
