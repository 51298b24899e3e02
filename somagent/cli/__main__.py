"""`python -m somagent.cli` is `somagent`."""

from somagent.cli.main import app

app()
