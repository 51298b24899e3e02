"""What the CLI says and which code it ends with, without any server."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest
import sources
import typer
from client_cli import somagent
from servers import settings_in, temporary_home

from somagent.cli.exit_codes import BY_STATUS, Code
from somagent.cli.main import app
from somagent.local_stack.environment import product_environment
from somagent.settings import Settings

ROOT = typer.main.get_command(app)
REPOSITORY = sources.ROOT
LIBRARY = REPOSITORY / "capsules" / "library"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path]
    for name, inner in getattr(command, "commands", {}).items():
        found += commands(inner, (*path, name))
    return found


ALL = commands(ROOT)


@pytest.fixture(scope="module")
def offline_settings():
    """Settings with a token, and an API address where nobody listens."""
    with temporary_home() as home:
        settings = settings_in(home)
        settings.credentials_file.parent.mkdir(parents=True, exist_ok=True)
        settings.credentials_file.write_text(json.dumps({"operator": {"token": "t"}}))
        yield settings


def command_at(path: tuple[str, ...]) -> click.Command:
    command = ROOT
    for name in path:
        command = command.commands[name]
    return command


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_option_has_help(path: tuple[str, ...]) -> None:
    command = command_at(path)
    assert command.help
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{' '.join(path)} {parameter.name}"


def test_the_commands_of_the_issue_are_there() -> None:
    wanted = {"up", "down", "status", "doctor", "logs", "run", "runs", "approvals", "approve", "deny", "capsule",
              "schedule", "budget", "token", "receipts", "policy"}  # fmt: skip
    assert wanted <= {path[0] for path in ALL if path}


def test_every_code_has_one_meaning_and_no_two_share_a_number() -> None:
    assert all(code.meaning for code in Code)
    assert set(BY_STATUS.values()) <= set(Code)


def test_help_runs_as_a_program(tmp_path: Path) -> None:
    """In an interpreter of its own, from any directory: the other tests fork a process that has imported the CLI."""
    command = [sys.executable, "-P", "-m", "somagent.cli", "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Exit codes:" in ended.stdout


CLIENT_COMMANDS = [
    ("run", "word-count", "-f", "text=x"),
    ("runs", "list"),
    ("runs", "show", "a/b/c"),
    ("runs", "watch", "a/b/c"),
    ("runs", "events", "a/b/c"),
    ("runs", "cancel", "a/b/c"),
    ("runs", "message", "a/b/c", "hello"),
    ("approvals", "list"),
    ("approve", "x"),
    ("deny", "x"),
    ("capsule", "list"),
    ("capsule", "show", "word-count"),
    ("schedule", "list"),
    ("schedule", "delete", "x"),
    ("budget", "show"),
    ("token", "show"),
    ("token", "mint"),
    ("receipts", "a/b/c"),
    ("policy", "check", "active"),
    ("policy", "backtest", "default"),
    ("policy", "rollback"),
    ("policy", "explain", "--approval", "x"),
]


@pytest.mark.parametrize("command", CLIENT_COMMANDS, ids=" ".join)
def test_without_a_server_a_command_says_so_and_ends_with_8(
    command: tuple[str, ...], offline_settings: Settings
) -> None:
    ended = somagent(*command, settings=offline_settings)
    assert ended.code == Code.UNAVAILABLE
    assert f"{offline_settings.api_base()} cannot be reached" in ended.err
    assert "somagent up" in ended.err
    assert "Traceback" not in ended.err


def test_with_json_a_failure_is_a_problem_document(offline_settings: Settings) -> None:
    ended = somagent("runs", "list", "--json", settings=offline_settings)
    assert ended.code == Code.UNAVAILABLE
    assert ended.json["problem"]["code"] == "Unavailable"


def test_without_a_token_the_command_says_how_to_get_one() -> None:
    with temporary_home() as home:
        ended = somagent("runs", "list", settings=settings_in(home))
    assert ended.code == Code.DENIED
    assert "SOMAGENT_TOKEN" in ended.err


def test_an_unknown_principal_is_told_with_the_known_ones(offline_settings: Settings) -> None:
    ended = somagent("runs", "list", "--as", "bob", settings=offline_settings)
    assert ended.code == Code.DENIED
    assert "Known: operator" in ended.err


def test_a_token_in_the_environment_needs_no_credentials() -> None:
    with temporary_home() as home:
        ended = somagent("runs", "list", settings=settings_in(home), SOMAGENT_TOKEN="t")
    assert ended.code == Code.UNAVAILABLE


@pytest.mark.parametrize("command", [("run",), ("runs", "show"), ("nonsense",), ("runs", "list", "--limit", "0")])
def test_a_wrong_command_line_ends_with_2(command: tuple[str, ...], offline_settings: Settings) -> None:
    assert somagent(*command, settings=offline_settings).code == Code.USAGE


def test_nothing_to_raise_is_a_wrong_command_line(offline_settings: Settings) -> None:
    assert somagent("budget", "raise", "a/b/c", settings=offline_settings).code == Code.USAGE


def test_a_shipped_file_is_valid_offline(offline_settings: Settings) -> None:
    file = LIBRARY / "capsules" / "word-count.yaml"
    ended = somagent("capsule", "validate", str(file), "--offline", "--json", settings=offline_settings)
    assert ended.code == Code.OK
    assert ended.json[0]["ref"] == "word-count@1.0.0"


def test_a_bad_file_is_told_by_line_and_ends_with_5(offline_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("apiVersion: somagent/v1\nkind: Capsule\nmetadata: {name: Bad}\n")
    ended = somagent("capsule", "validate", str(file), settings=offline_settings)
    assert ended.code == Code.INVALID
    assert "3:18 metadata.name: 'Bad' does not fit here." in ended.err


def test_a_plot_without_matplotlib_ends_with_what_to_install(offline_settings: Settings, tmp_path: Path) -> None:
    """The packages of this environment but matplotlib, in a directory of their own."""
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith("matplotlib"):
            (tmp_path / package.name).symlink_to(package)
    ended = subprocess.run(
        [sys.executable, "-S", "-P", "-m", "somagent.cli", "forecasts", "accuracy", "--plot", "forecasts.svg"],
        check=False,
        env={**os.environ, **product_environment(offline_settings), "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == Code.USAGE
    assert ended.stderr == "--plot needs matplotlib, which is not installed: run `pip install 'somagent[plots]'`.\n"


def test_a_missing_file_is_a_wrong_command_line(offline_settings: Settings) -> None:
    ended = somagent("capsule", "publish", "/nowhere.yaml", settings=offline_settings)
    assert ended.code == Code.USAGE
    assert "cannot be read" in ended.err
