"""`somagent policy`: check, prove, compare, explain, backtest, sign and change constitutions.

Files are read, proved and compared on this machine, without a server.
"""

from somagent.cli.policy import activation, commands, history, signatures
from somagent.cli.policy.commands import app

__all__ = ["app"]

for part in (history, signatures, activation):
    app.add_typer(part.app)
del activation, commands, history, signatures
