"""Names, references and version ranges of capsules, personas and tools."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from capsules.base_model import FrozenModel

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=63)]
"""Lower-case words joined by hyphens: `log-triage`."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=63)]
"""A name that expressions can use: `parse_log`."""

_SEMVER = r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(?:-[0-9A-Za-z.-]{1,64})?"
Version = Annotated[str, StringConstraints(pattern=f"^{_SEMVER}$")]
"""A semantic version: `1.4.0`."""

TenantId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
RunId = Annotated[str, StringConstraints(min_length=1, max_length=255)]
"""A run's id, which is its Temporal workflow id."""

_REFERENCE = re.compile(r"^(?P<name>[a-z][a-z0-9]*(?:-[a-z0-9]+)*)(?:@(?P<range>\^?[0-9][0-9A-Za-z.-]*|latest))?$")


class Reference(FrozenModel):
    """A name and its acceptable versions: `name`, `name@1`, `name@^1.2`, `name@1.2.0`."""

    name: str
    range: str = Field("latest", description="`latest`, an exact version, or a prefix such as `1` or `^1.2`.")

    def __str__(self) -> str:
        return self.name if self.range == "latest" else f"{self.name}@{self.range}"

    def matches(self, version: str) -> bool:
        """Return whether a version matches. Pre-releases match only when named exactly."""
        if self.range in {"latest", version}:
            return self.range == version or "-" not in version
        if "-" in version:
            return False
        wanted = self.range.removeprefix("^").split(".")
        have = version.split(".")
        if not self.range.startswith("^"):
            return have[: len(wanted)] == wanted
        return have[0] == wanted[0] and _numbers(have) >= _numbers(wanted)

    def highest(self, versions: list[str]) -> str | None:
        """Return the highest version that matches, or None."""
        matching = [v for v in versions if self.matches(v)]
        return max(matching, key=version_key, default=None)


def parse_reference(text: str) -> Reference:
    """Parse `name` or `name@range`. Raises ValueError with what was expected."""
    match = _REFERENCE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a reference; expected `name`, `name@1`, `name@^1.2` or `name@1.2.0`")
    return Reference(name=match["name"], range=match["range"] or "latest")


def _check(text: str) -> str:
    parse_reference(text)
    return text


ReferenceText = Annotated[str, AfterValidator(_check)]
"""A reference kept as it was written, checked on the way in."""


def version_key(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Sort key of semantic versions; a pre-release sorts before its release."""
    core, _, pre = version.partition("-")
    return _numbers(core.split(".")), not pre, pre


def _numbers(parts: list[str]) -> tuple[int, ...]:
    return tuple(int(p) for p in parts)
