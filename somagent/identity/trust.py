"""Which constitutions count here: signed by t of n keys, by the key files as they are now and not as they once were."""

from dataclasses import dataclass, field
from pathlib import Path

from capsules.read_models import ConstitutionRecord
from somagent.identity.keys import KeyRing
from somagent.identity.signatures import verify_constitution


@dataclass
class ConstitutionTrust:
    """Reads the keys again when a file has come or gone: a rotation or revocation needs no restart."""

    directory: Path
    required: int = 1
    _seen: int = field(default=-1, init=False)
    _ring: KeyRing | None = field(default=None, init=False, repr=False)

    def __call__(self, record: ConstitutionRecord) -> bool:
        """Say yes, or raise ConstitutionRefused with which signature does not count, and why."""
        self.keys_of(record)
        return True

    def keys_of(self, record: ConstitutionRecord) -> tuple[str, ...]:
        """Return the ids of the keys whose signatures count."""
        return verify_constitution(self._current(), record, self.required)

    def _current(self) -> KeyRing:
        changed = self.directory.stat().st_mtime_ns if self.directory.is_dir() else -1
        if self._ring is None or changed != self._seen:
            self._ring, self._seen = KeyRing.load(self.directory), changed
        return self._ring
