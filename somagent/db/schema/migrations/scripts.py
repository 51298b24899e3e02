"""SQL scripts of revisions, run inside the transaction of the migration."""

from pathlib import Path

from alembic import op
from sqlalchemy import text


def run_beside(revision: str) -> None:
    """Run the `.sql` file beside a revision's Python file. It is frozen: once released, it is never edited."""
    script = Path(revision).with_suffix(".sql").read_text("utf-8")
    connection = op.get_bind()
    connection.execute(text("SELECT 1"))  # the adapter opens its transaction with the first statement it sees
    raw = connection.connection.dbapi_connection
    if raw is None:
        raise RuntimeError("The migration's connection is closed.")
    raw.run_async(lambda driver: driver.execute(script))  # many statements: the driver cannot prepare them
