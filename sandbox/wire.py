"""Wire format between the worker and `sandbox.supervisor`: the input of a command and the report of its outcome."""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from capsules.errors import EffectFailed, Invalid, TooLarge
from capsules.tools.tool import ContainerResult, ContainerSpec
from sandbox.supervisor import CODE_BYTES

PAGE = 4096
MAX_LINE = 2 << 14
"""Bytes of a line of the report: base64 of a chunk and its code stay below."""
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/work",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
}


def check_spec(spec: ContainerSpec) -> ContainerSpec:
    """Return the spec. Raises Invalid for files outside the working directory, TooLarge for more than fits into it."""
    problems = [{"path": path, "message": reason} for path in spec.files if (reason := _path_problem(path, spec.files))]
    if problems:
        first = problems[0]
        raise Invalid(f"File {first['path']!r} {first['message']}.", problems=problems)
    if any("\0" in word for word in spec.command):
        raise Invalid("The command contains a NUL character, which no program can be given.")
    pages = sum(-(-len(_bytes(content)) // PAGE) + 1 for content in spec.files.values())
    if pages * PAGE > spec.limits.tmpfs_bytes:
        raise TooLarge(
            f"The files take {pages * PAGE} bytes, the working directory holds {spec.limits.tmpfs_bytes}. "
            "Raise tmpfs_bytes."
        )
    # The supervisor holds the largest piece in memory while it writes it.
    if pages * PAGE + 3 * len(spec.stdin.encode()) > spec.limits.memory_bytes // 2:
        raise TooLarge(
            f"Files and standard input take more than half of memory_bytes={spec.limits.memory_bytes}: raise it."
        )
    return spec


def _path_problem(path: str, files: Iterable[str]) -> str | None:
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\0" in path or str(pure) != path or path == ".":
        return "must be a plain relative path below the working directory"
    if any(len(part.encode()) > 255 for part in pure.parts) or len(path.encode()) > 3000:
        return "has a name that is too long"
    if any(other != path and PurePosixPath(other).is_relative_to(pure) for other in files):
        return "would be a file and a directory"
    return None


def frame(spec: ContainerSpec) -> bytes:
    """Return the input that the supervisor reads."""
    parts = [_number(len(spec.command)), *(_field(word) for word in spec.command)]
    parts += [_number(len(ENVIRONMENT)), *(_field(f"{name}={value}") for name, value in ENVIRONMENT.items())]
    parts += [_field(spec.stdin), _number(len(spec.files))]
    for path, content in sorted(spec.files.items()):
        parts += [_field(path), _field(content)]
    return b"".join([*parts, b"end"])


def fingerprint(spec: ContainerSpec, framed: bytes) -> str:
    """Return a digest of the spec: equal fingerprints mean the same command, files, limits and image."""
    terms = f"{spec.image}\n{spec.limits.model_dump_json()}\n"
    return hashlib.sha256(terms.encode() + framed).hexdigest()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _number(value: int) -> bytes:
    return value.to_bytes(8, "big")


def _field(content: str | bytes) -> bytes:
    data = _bytes(content)
    return _number(len(data)) + data


@dataclass
class ContainerReport:
    """The supervisor's report, read line by line. `limit` is in bytes for each output, `key` the one it was given.

    A line that the supervisor did not write, or that is not the next one, raises EffectFailed: the program in the
    sandbox wrote into the report, or the beginning of the report is lost.
    """

    limit: int
    key: bytes
    begun: bool = False
    result: ContainerResult | None = None
    supervisor_errors: bytearray = field(default_factory=bytearray)
    _outputs: dict[bytes, bytearray] = field(default_factory=lambda: {b"o": bytearray(), b"e": bytearray()})
    _rest: bytearray = field(default_factory=bytearray)
    _lines: int = 0

    def read(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Take pieces of the engine's stream until there is a result or the stream ends."""
        for stream, data in pieces:
            self.take(stream, data)
            if self.result is not None:
                return

    def take(self, stream: int, data: bytes) -> None:
        """Take a piece of the engine's stream: 1 carries the report, 2 the supervisor's own errors."""
        if stream != 1:
            self.supervisor_errors += data[: 4096 - len(self.supervisor_errors)]
            return
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            self._read_line(self._verify_line(bytes(line)))
            if self.result is not None:
                return
        if len(rest) > MAX_LINE:
            raise self._altered()

    def _verify_line(self, line: bytes) -> bytes:
        """Return what the supervisor wrote in the line, without its code."""
        content, _, code = line.rpartition(b" ")
        wanted = hashlib.blake2b(b"%d " % self._lines + content, key=self.key, digest_size=CODE_BYTES).hexdigest()
        if not hmac.compare_digest(code, wanted.encode()):
            raise self._altered()
        self._lines += 1
        return content

    def _altered(self) -> EffectFailed:
        return EffectFailed(
            f"Line {self._lines + 1} of the sandbox's report is not its supervisor's: the program wrote into it, "
            "or a part of it is lost. How the program ended is not known, and no result of it is accepted."
        )

    def _read_line(self, line: bytes) -> None:
        kind, data = line[:1], line[1:]
        if kind == b"b":
            self.begun = True
        elif kind in self._outputs:
            output = self._outputs[kind]
            output += base64.b64decode(data)[: self.limit - len(output)]
        elif kind == b"f":
            raise EffectFailed(
                f"The input does not fit the sandbox: {base64.b64decode(data).decode(errors='replace')}."
            )
        elif kind == b"x":
            code, cut, late, oom, duration = (int(word) for word in data.split())
            self.result = self.to_result(
                exit_code=code, truncated=bool(cut), timed_out=bool(late), out_of_memory=bool(oom), duration_ms=duration
            )

    def to_result(
        self, *, exit_code: int, truncated: bool, timed_out: bool, out_of_memory: bool, duration_ms: int
    ) -> ContainerResult:
        """Return the result, with the output that was taken so far."""
        return ContainerResult(
            exit_code=exit_code,
            stdout=self._outputs[b"o"].decode(errors="replace"),
            stderr=self._outputs[b"e"].decode(errors="replace"),
            truncated=truncated,
            timed_out=timed_out,
            out_of_memory=out_of_memory,
            duration_ms=duration_ms,
        )
