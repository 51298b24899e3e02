"""How the CLI writes amounts, scores, times and statuses."""

from datetime import datetime
from typing import Any

from rich.table import Table

from capsules.budgets.amounts import Amounts

COLORS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "yellow",
    "awaiting_approval": "magenta",
    "awaiting_budget": "magenta",
    "paused": "yellow",
    "running": "cyan",
    "allow": "green",
    "ask": "magenta",
    "deny": "red",
    "pending": "magenta",
    "approved": "green",
    "denied": "red",
    "edited": "cyan",
}
PPM = 1_000_000


def amounts(value: dict[str, Any] | None) -> str:
    """Write `1,200 tokens · $0.0004 · 2 tool calls`; nothing where nothing was."""
    return Amounts.model_validate(value or {}).format(" · ")


def score(ppm: int | None) -> str:
    return "" if ppm is None else f"{ppm / PPM:.3f}"


def colored(word: str) -> str:
    return f"[{COLORS.get(word, 'default')}]{word}[/]"


def clock(text: str | None) -> str:
    """Write a time as the reader's clock shows it."""
    return "" if not text else datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def table(*columns: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        made.add_column(column, overflow="fold", no_wrap=number == 0)  # the first names the thing: it gets copied
    return made
