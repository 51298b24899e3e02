"""Log files, one for each part. A start begins a new file and keeps the last three."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

KEPT = 3
FOLLOW_SECONDS = 0.2


def log_file(home: Path, part: str) -> Path:
    return home.absolute() / "logs" / f"{part}.log"


def rotate(log: Path) -> None:
    """Move the log of the last start aside: NAME.log.1 is the newest of the old ones."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if not log.exists() or log.stat().st_size == 0:
        return
    for number in range(KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{number + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last `count` lines of a log; none if there is no file."""
    if count == 0 or not log.exists():
        return []
    with log.open(errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=count)]


def new_lines(logs: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Yield each new line with the name of its log, for ever, also from the new files of a later start."""
    ends = {name: _position(log) for name, log in logs.items()}
    rest = dict.fromkeys(logs, "")
    while True:
        for name, log in logs.items():
            inode, size = _position(log)
            known, offset = ends[name]
            offset = offset if inode == known else 0
            if size > offset:
                with log.open("rb") as file:
                    file.seek(offset)
                    written = file.read(size - offset)
                *whole, rest[name] = (rest[name] + written.decode(errors="replace")).split("\n")
                yield from ((name, line) for line in whole)
            ends[name] = (inode, size)
        time.sleep(FOLLOW_SECONDS)


def _position(log: Path) -> tuple[int, int]:
    try:
        status = log.stat()
    except FileNotFoundError:
        return (0, 0)
    return (status.st_ino, status.st_size)
