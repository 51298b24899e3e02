"""Secret references: settings name the place of a secret, never its value; it is read at the moment of use."""

import os
from dataclasses import dataclass
from pathlib import Path

from capsules.errors import Invalid

SHORTEST = 16


@dataclass(frozen=True)
class SecretReference:
    """`env:NAME`, an environment variable, or `file:/path`, the first line of a file."""

    reference: str

    def read(self, *, shortest: int = 1) -> str:
        """Return the secret. Raises Invalid when it is missing or has fewer than `shortest` characters."""
        kind, _, place = self.reference.partition(":")
        match kind:
            case "env":
                found = os.environ.get(place, "")
            case "file":
                found = self._read_file(Path(place))
            case _:
                raise Invalid(f"{self.reference!r} is no reference to a secret; write env:NAME or file:/path.")
        if len(found) < shortest:
            raise Invalid(f"The secret at {self.reference!r} has {len(found)} characters; {shortest} are needed.")
        return found

    def _read_file(self, path: Path) -> str:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"The secret at {self.reference!r} cannot be read: {error}") from error
        return lines[0].strip() if lines else ""
