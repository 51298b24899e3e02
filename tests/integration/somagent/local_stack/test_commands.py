"""`somagent up`, `down`, `status`, `doctor` and `logs` as a user runs them."""

import json
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest
from servers import settings_in, temporary_home
from stack_cli import Cli


@pytest.fixture
def cli() -> Iterator[Cli]:
    with temporary_home() as home:
        cli = Cli(settings_in(home))
        yield cli
        cli.run("down")


@pytest.fixture(scope="module")
def up() -> Iterator[Cli]:
    """A stack that runs Valkey, for tests that only look."""
    with temporary_home() as home:
        cli = Cli(settings_in(home))
        assert cli.run("up", "--only", "valkey").returncode == 0
        yield cli
        cli.run("down")


def test_up_starts_the_parts_and_down_leaves_no_process(cli: Cli):
    up = cli.run("up", "--only", "postgres,valkey")
    assert up.returncode == 0, up.stderr
    assert "The stack is ready." in up.stdout
    state = json.loads(cli.run("status", "--json").stdout)
    assert state["phase"] == "ready"
    assert {part["name"]: part["phase"] for part in state["parts"]} == {"postgres": "ready", "valkey": "ready"}
    assert len(cli.processes()) >= 3

    down = cli.run("down")

    assert down.returncode == 0, down.stderr
    assert cli.processes() == []
    assert cli.run("status").returncode == 3


def test_a_second_up_does_nothing_and_says_so(up: Cli):
    before = {process.pid for process in up.processes()}

    again = up.run("up", "--only", "valkey")

    assert again.returncode == 0
    assert "already running" in again.stdout
    assert {process.pid for process in up.processes()} == before


def test_up_says_when_the_running_stack_lacks_a_part(up: Cli):
    more = up.run("up", "--only", "valkey,postgres")
    assert more.returncode == 1
    assert "without postgres" in more.stderr


def test_a_taken_port_is_named_with_its_holder_its_setting_and_the_way_out(cli: Cli):
    port = cli.settings.valkey_port
    with socket.create_server(("127.0.0.1", port)):
        up = cli.run("up", "--only", "valkey,temporal")
    assert up.returncode == 1
    assert f"Port {port} of valkey on 127.0.0.1 is taken" in up.stderr
    assert f"(process {psutil.Process().pid})" in up.stderr
    assert f"SOMAGENT_VALKEY_PORT={port + 1} somagent up" in up.stderr
    assert cli.processes() == []


def test_parts_die_with_a_supervisor_that_is_killed_and_up_works_again(cli: Cli):
    cli.run("up", "--only", "postgres,valkey,temporal")
    state = json.loads(cli.run("status", "--json").stdout)
    parts = [psutil.Process(part["process"]["pid"]) for part in state["parts"]]

    psutil.Process(state["supervisor"]["pid"]).send_signal(signal.SIGKILL)

    _, alive = psutil.wait_procs(parts, timeout=15)
    assert alive == []
    assert cli.run("status").returncode == 3
    up = cli.run("up", "--only", "postgres,valkey,temporal")
    assert up.returncode == 0, up.stderr


def test_down_ends_what_a_killed_supervisor_left(cli: Cli):
    cli.run("up", "--only", "valkey")
    state = json.loads(cli.run("status", "--json").stdout)
    valkey = psutil.Process(state["parts"][0]["process"]["pid"])
    valkey.suspend()  # it cannot follow the kernel's word that its supervisor is gone
    psutil.Process(state["supervisor"]["pid"]).send_signal(signal.SIGKILL)

    down = cli.run("down")

    assert "Ended what a killed supervisor had left: valkey." in down.stdout
    assert cli.processes() == []


def test_an_unknown_part_is_refused_with_the_known_ones(cli: Cli):
    up = cli.run("up", "--only", "postgras")
    assert up.returncode == 1
    assert "There is no part 'postgras'. Known: postgres, valkey," in up.stderr


def test_a_part_that_a_setting_replaces_is_not_started(cli: Cli):
    elsewhere = Cli(cli.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))
    up = elsewhere.run("up", "--only", "valkey,temporal", "--json")
    assert up.returncode == 0, up.stderr
    assert [part["name"] for part in json.loads(up.stdout)["parts"]] == ["temporal"]


def test_logs_show_what_a_part_wrote(up: Cli):
    logs = up.run("logs", "valkey", "-n", "5")
    assert "Ready to accept connections" in logs.stdout
    assert up.run("logs", "nothing").returncode == 2


def test_doctor_finds_a_taken_port_and_says_how_to_mend_it(cli: Cli):
    with socket.create_server(("127.0.0.1", cli.settings.api_port)):
        doctor = cli.run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(doctor.stdout)}
    taken = checks[f"port {cli.settings.api_port}"]
    assert doctor.returncode == 1
    assert not taken["ok"]
    assert f"SOMAGENT_API_PORT={cli.settings.api_port + 1}" in taken["fix"]
    assert all(checks[name]["ok"] for name in ("python", "setpriv", "postgres", "valkey", "temporal", "language model"))


def test_doctor_finds_a_key_that_others_may_read(cli: Cli):
    keys = cli.settings.keys_dir
    keys.mkdir(mode=0o700)
    (keys / "postgres-app.password").write_text("known to all")
    (keys / "postgres-app.password").chmod(0o644)
    checks = {check["name"]: check for check in json.loads(cli.run("doctor", "--json").stdout)}
    assert checks["keys"]["fix"] == f"chmod go= {keys / 'postgres-app.password'}"
