"""Database errors: translates the driver's errors into the errors of `capsules.errors`, by SQLSTATE."""

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from capsules.errors import BudgetExhausted, Conflict, Invalid, NotFound, SomaError, Unavailable

# Raised by our own functions in `sql/`, with the fields as JSON in DETAIL.
OURS: dict[str, type[SomaError]] = {"SO402": BudgetExhausted, "SO404": NotFound, "SO409": Conflict, "SO422": Invalid}

# Classes of SQLSTATE after which a retry may succeed: connection lost, deadlock, out of resources, shut down by the
# operator, system error.
TRANSIENT = ("08", "40", "53", "57", "58")

# Errors of the driver. InternalClientError: the connection was lost after it was taken from the pool.
DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, PoolTimeout)
LOST = (OSError, PoolTimeout, asyncpg.InterfaceError, asyncpg.InternalClientError)


@contextlib.asynccontextmanager
async def translate_errors() -> AsyncIterator[None]:
    """Raise our error in place of the driver's: one of `OURS` or `REFUSALS`, or Unavailable for a lost database."""
    try:
        yield
    except DBAPIError as error:
        raise translate_error(error.orig or error) from error
    except DRIVER as error:
        raise translate_error(error) from error


@contextlib.asynccontextmanager
async def begin(engine: AsyncEngine, *first: Any) -> AsyncIterator[AsyncConnection]:  # noqa: ANN401 - what `execute` takes
    """Yield a connection in a transaction that commits at the end. Raises as `translate_errors` does.

    first: a statement and its parameters, executed before the caller's. On a lost connection it is tried once more.
    The caller's code runs inside, so an OSError counts as the database's only when this connection is lost too.
    """
    foreign: OSError | None = None
    try:
        async with _open(engine, first) as connection:
            try:
                yield connection
            except OSError as error:
                foreign = None if await _is_lost(connection) else error
                raise
            await connection.commit()
    except DBAPIError as error:
        raise translate_error(error.orig or error) from error
    except DRIVER as error:
        if error is foreign:
            raise
        raise translate_error(error) from error


@contextlib.asynccontextmanager
async def _open(engine: AsyncEngine, first: Sequence[Any]) -> AsyncIterator[AsyncConnection]:
    async with contextlib.AsyncExitStack() as stack:
        connection = await stack.enter_async_context(engine.connect())
        if first:
            try:
                await connection.execute(*first)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                await connection.close()
                connection = await stack.enter_async_context(engine.connect())
                await connection.execute(*first)
        yield connection


async def _is_lost(connection: AsyncConnection) -> bool:
    try:
        raw = await connection.get_raw_connection()
    except InvalidRequestError:  # invalidated after a disconnect
        return True
    driver = raw.driver_connection
    return driver is None or bool(driver.is_closed())


def translate_error(error: BaseException) -> SomaError | BaseException:
    """Return our error for a driver's error. One that is a bug of ours, such as wrong SQL, is returned unchanged."""
    driver = _driver_error(error)
    state = str(getattr(driver, "sqlstate", None) or "")
    if state in OURS:
        return OURS[state](str(driver), **_fields(driver))
    if state in REFUSALS:
        return REFUSALS[state](driver)
    if state.startswith(TRANSIENT) or isinstance(driver, LOST):
        return Unavailable(f"The database cannot be used now: {driver or type(driver).__name__}")
    return error


def _nul_character(_: BaseException) -> SomaError:
    return Invalid("A text holds a NUL character, which the database cannot store. Remove it.")


def _missing_reference(error: BaseException) -> SomaError:
    if str(getattr(error, "constraint_name", "")).endswith("_tenant_id_fkey"):
        return NotFound("The tenant is not known here. The owner of the database adds it first.")
    return NotFound(f"What the new row refers to is not there: {error}")


def _invalid_value(error: BaseException) -> SomaError:
    return Invalid(f"The database refuses the value: {error}")


REFUSALS = {"22021": _nul_character, "22P05": _nul_character, "23503": _missing_reference, "23514": _invalid_value}
"""Errors in the data of the caller, by SQLSTATE."""


def _driver_error(error: BaseException) -> BaseException:
    """Return the driver's own error, which SQLAlchemy's adapter keeps as the cause."""
    if getattr(error, "sqlstate", None) and not isinstance(error, asyncpg.PostgresError) and error.__cause__:
        return error.__cause__
    return error.__cause__ if isinstance(error.__cause__, asyncpg.PostgresError | OSError) else error


def _fields(error: BaseException) -> dict[str, Any]:
    detail = getattr(error, "detail", None)
    fields: dict[str, Any] = json.loads(detail) if detail else {}
    return fields
