"""The report of a sandbox: only what its supervisor wrote, in full and in order, is a report."""

import subprocess
import sys

import pytest

from capsules.errors import EffectFailed
from sandbox.supervisor import KEY_BYTES
from sandbox.wire import MAX_LINE, ContainerReport

KEY = bytes(range(KEY_BYTES))
WRITES = """
from sandbox.supervisor import Report
report = Report(bytes(range(32)))
report.write(b"b")
report.write(b"o", b"b25l")
report.write(b"o", b"dHdv")
report.write(b"x", b" 3 0 0 0 12")
"""


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """What a supervisor writes: begun, two pieces of output, ended with 3."""
    wrote = subprocess.run([sys.executable, "-c", WRITES], capture_output=True, check=True)
    return wrote.stdout.splitlines(keepends=True)


def read(lines: list[bytes], key: bytes = KEY) -> ContainerReport:
    report = ContainerReport(1024, key)
    report.read((1, line) for line in lines)
    return report


def test_a_report_is_read(lines):
    result = read(lines).result
    assert (result.exit_code, result.stdout) == (3, "onetwo")


def test_what_comes_after_the_end_is_not_read(lines):
    assert read([b"".join([*lines, b"anything\n"])]).result.exit_code == 3


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda lines: [lines[0], b"x 0 0 0 0 1\n"], id="an end without a code"),
        pytest.param(lambda lines: [lines[0], b"x 0 0 0 0 1 " + b"0" * 32 + b"\n"], id="an end with another code"),
        pytest.param(lambda lines: [lines[0], lines[3].replace(b"x 3", b"x 0")], id="an end that was altered"),
        pytest.param(lambda lines: [lines[0], lines[3]], id="an end too early"),
        pytest.param(lambda lines: [lines[0], lines[1], lines[1]], id="output twice"),
        pytest.param(lambda lines: [lines[0], lines[2], lines[1]], id="output in another order"),
        pytest.param(lambda lines: lines[1:], id="no beginning"),
        pytest.param(lambda lines: [lines[0], b"\n"], id="an empty line"),
        pytest.param(lambda lines: [lines[0], b"zzz", lines[1]], id="bytes before a line"),
        pytest.param(lambda lines: [lines[0], b"z" * (MAX_LINE + 1)], id="a line without an end"),
        pytest.param(lambda lines: [b"b\n"], id="of an older supervisor"),
    ],
)
def test_what_the_supervisor_did_not_write_ends_the_reading(lines, forge):
    with pytest.raises(EffectFailed, match="is not its supervisor's"):
        read(forge(lines))


def test_a_report_with_another_key_is_none(lines):
    with pytest.raises(EffectFailed, match="Line 1 of the sandbox's report"):
        read(lines, bytes(KEY_BYTES))
    with pytest.raises(EffectFailed, match="Line 1 of the sandbox's report"):
        read(lines, b"")
