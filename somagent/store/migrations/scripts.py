"""Running a file of `somagent/store/sql` inside a migration's transaction."""

from importlib.resources import files

from alembic import op
from sqlalchemy import text


def run(name: str) -> None:
    """Run the statements of a file. The driver takes many statements only outside a prepared one."""
    script = (files("somagent.store") / "sql" / name).read_text()
    connection = op.get_bind()
    connection.execute(text("SELECT 1"))  # the adapter opens its transaction with the first statement it sees
    raw = connection.connection.dbapi_connection
    if raw is None:
        raise RuntimeError("The migration's connection is closed.")
    raw.run_async(lambda driver: driver.execute(script))
