"""A channel: one way by which a notice leaves."""

from typing import Protocol

from somagent.notices.notice import Notice


class NotSent(Exception):
    """A notice did not arrive. `final`: the other side will never take it, so it is not tried again."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class Channel(Protocol):
    @property
    def name(self) -> str:
        """`webhook` or `mail`: a delivery is remembered under it."""
        ...

    async def send(self, notice: Notice) -> str:
        """Send, and return what the other side said. Raises NotSent, or Invalid for what is set wrongly."""
        ...
