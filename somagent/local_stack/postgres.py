"""PostgreSQL 18 with pgvector: a cluster in the stack's home that trusts no connection.

Over TCP every role needs its generated password (SCRAM). The superuser has none: it connects only through a unix
socket in a private directory, by peer authentication.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil

from somagent.local_stack.database_roles import DATABASE, grant_database, grant_server, make_passwords
from somagent.local_stack.environment import server_environment
from somagent.local_stack.errors import MissingProgram, NotReady
from somagent.local_stack.part import ListenPort, Part, StartedProcess
from somagent.local_stack.system_user import Identity, current_user, unprivileged_user
from somagent.local_stack.wheels import postgres_programs
from somagent.settings import Settings

SUPERUSER = "postgres"
CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
SOCKET_PATH_LIMIT = 100  # bytes; the kernel takes 107
OPTIONS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "jit": "off",  # compiling short queries costs more time than it saves
}


def postgres(settings: Settings) -> Part:
    home = settings.home.absolute()
    programs = postgres_programs()
    identity = unprivileged_user(home, programs)
    options = OPTIONS | {
        "listen_addresses": settings.host,
        "port": str(settings.postgres_port),
        "unix_socket_directories": str(socket_directory(settings)),
    }

    async def prepare() -> None:
        make_passwords(settings)
        await _end_orphan(data_directory(settings))
        _own_directory(socket_directory(settings), identity)
        await _initialise(settings, programs, identity)
        _write_access_rules(data_directory(settings), identity)

    async def provision() -> None:
        try:
            async with superuser(settings) as connection:
                await grant_server(connection, settings)
            async with superuser(settings, database=DATABASE) as connection:
                await grant_database(connection)
        except CONNECTION_ERRORS as error:
            raise NotReady(f"roles and extension: {error}") from error

    async def healthy(_: StartedProcess) -> None:
        try:
            async with superuser(settings):
                pass
        except CONNECTION_ERRORS as error:
            raise NotReady(f"no session yet: {error}") from error

    return Part(
        name="postgres",
        command=(
            str(programs / "postgres"),
            *("-D", str(data_directory(settings))),
            *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
        ),
        env=server_environment(HOME=str(data_directory(settings))),
        identity=identity,
        health=healthy,
        listens=(ListenPort(setting="SOMAGENT_POSTGRES_PORT", port=settings.postgres_port),),
        address=f"postgresql://{settings.host}:{settings.postgres_port}/somagent",
        prepare=prepare,
        provision=provision,
        stop_signal=signal.SIGINT,  # fast shutdown: sessions end, data is written, and the next start needs no recovery
    )


@contextlib.asynccontextmanager
async def superuser(settings: Settings, *, database: str = SUPERUSER) -> AsyncIterator["asyncpg.Connection"]:
    """Open a superuser's connection through the private socket."""
    connection = await asyncpg.connect(
        host=str(socket_directory(settings)), port=settings.postgres_port, user=SUPERUSER, database=database, timeout=5
    )
    try:
        yield connection
    finally:
        await connection.close()


def data_directory(settings: Settings) -> Path:
    return settings.home.absolute() / "data" / "postgres"


def socket_directory(settings: Settings) -> Path:
    """Return a private directory for the superuser's socket. Its path is short enough for the kernel."""
    directory = settings.home.absolute() / "run"
    if len(os.fsencode(directory / ".s.PGSQL.65535")) <= SOCKET_PATH_LIMIT:
        return directory
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"somagent-{name}"


async def _initialise(settings: Settings, programs: Path, identity: Identity | None) -> None:
    data = data_directory(settings)
    if (data / "PG_VERSION").exists():
        return
    data.parent.mkdir(parents=True, exist_ok=True)
    # initdb writes beside the final place, so that an interrupted one is not taken for a cluster.
    unfinished = data.with_name("postgres.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    _own_directory(unfinished, identity)
    become = ("setpriv", *identity.options(), "--") if identity else ()
    command = (
        *become,
        str(programs / "initdb"),
        *("--pgdata", str(unfinished)),
        *("--username", SUPERUSER),
        *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
        *("--auth-local", "peer", "--auth-host", "scram-sha-256"),
        "--no-instructions",
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        env=server_environment(HOME=str(unfinished)),
        cwd=data.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise MissingProgram(f"initdb could not make {str(data)!r}:\n{output.decode(errors='replace').strip()}")
    unfinished.rename(data)


def _write_access_rules(data: Path, identity: Identity | None) -> None:
    """Write pg_hba.conf and pg_ident.conf: the superuser connects only by socket, as this user or the server's user."""
    rules = ["local all postgres peer map=somagent", "host all postgres all reject", "host all all all scram-sha-256"]
    users = dict.fromkeys((current_user(), identity.name if identity else current_user()))
    _write(data / "pg_hba.conf", rules, identity)
    _write(data / "pg_ident.conf", [f'somagent "{user}" {SUPERUSER}' for user in users], identity)


def _write(path: Path, lines: list[str], identity: Identity | None) -> None:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    if identity:
        os.chown(path, identity.uid, identity.gid)


def _own_directory(path: Path, identity: Identity | None) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid not in {os.geteuid(), identity.uid if identity else os.geteuid()}:
        raise MissingProgram(f"{str(path)!r} belongs to another user. Remove it and start again.")
    path.chmod(0o700)
    if identity:
        os.chown(path, identity.uid, identity.gid)


async def _end_orphan(data: Path) -> None:
    """Prepare the data directory for a start after a crash.

    A server that still runs on this data, because its supervisor was killed, is stopped. The lock file is removed when
    its process number now belongs to another program, as PostgreSQL would not start. Otherwise it stays: PostgreSQL
    itself checks whether the dead server's memory is still in use.
    """
    lock = data / "postmaster.pid"
    try:
        pid = int(lock.read_text().splitlines()[0])
        process = psutil.Process(pid)
        command = process.cmdline()
    except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        return
    if str(data) not in command:
        lock.unlink()
        return
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(psutil.TimeoutExpired):
        await asyncio.to_thread(process.wait, 10)
        return
    process.kill()
    await asyncio.to_thread(process.wait, 10)
