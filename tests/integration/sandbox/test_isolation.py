"""The walls: every limit, tried by code that wants through."""

import asyncio
import time
from pathlib import Path

import pytest
from docker_engines import FIRST_UID
from servers import eventually

from capsules.errors import EffectFailed, Invalid, TooLarge


async def status(python, field):
    result = await python(f"print([l.split()[1] for l in open('/proc/self/status') if l.startswith('{field}:')][0])")
    return result.stdout.strip()


async def outcome_of(running):
    """Return the result, or the message with which the report was refused."""
    try:
        return await running
    except EffectFailed as refused:
        return refused.message


async def test_time_is_limited_from_inside(python):
    began = time.monotonic()
    result = await python("import time; print('begun', flush=True); time.sleep(60)", limits={"seconds": 1})
    assert result.timed_out
    assert (result.exit_code, result.stdout) == (137, "begun\n")
    assert time.monotonic() - began < 8


async def test_ignoring_signals_and_killing_everybody_does_not_buy_time(python):
    code = """
import os, signal, time
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
    try: os.kill(1, number)
    except OSError: pass
if os.fork() == 0:
    os.setsid()
while True: time.sleep(1)
"""
    result = await python(code, limits={"seconds": 2})
    assert result.exit_code in {137, 143}
    assert result.duration_ms < 4000


async def test_memory_is_limited_and_said_so(python):
    result = await python("x = bytearray(10**9); print('got it')", limits={"memory_bytes": 64 * 2**20})
    assert result.out_of_memory
    assert result.exit_code == 137
    assert "got it" not in result.stdout


async def test_its_user_is_another_one_on_the_host(sandbox, lane, spec, key, container):
    """With user namespaces its user, and that of root in the image, are users without rights on the host."""
    if lane.name == "gvisor":
        pytest.skip("gVisor: the process on the host is gVisor's own")
    running = asyncio.create_task(sandbox.run(spec("sleep", "5"), key=key))

    async def is_mapped() -> None:
        assert container.exists(status="running")
        pid = container.get().attrs["State"]["Pid"]
        first = str(FIRST_UID) if lane.name == "user namespaces" else "0"
        assert Path(f"/proc/{pid}/uid_map").read_text().split()[:2] == ["0", first]

    await eventually(is_mapped, seconds=5)
    await running


async def test_a_program_inside_memory_is_not_called_out_of_memory(python):
    result = await python("x = bytearray(20 * 2**20); print('got it')", limits={"memory_bytes": 64 * 2**20})
    assert (result.stdout, result.out_of_memory) == ("got it\n", False)


async def test_a_fork_bomb_meets_the_process_limit_and_the_clock(python, lane):
    code = """
import os, time
made = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
        made += 1
except OSError as error:
    print(made, error.errno, flush=True)
    time.sleep(60)
"""
    if lane.name == "gvisor":
        # The processes of its kernel count too. It needs more of them to start, and ends when it can have no more.
        result = await python(code, limits={"pids": 64, "seconds": 10})
        assert result.exit_code != 0
        assert not result.stdout or int(result.stdout.split()[0]) < 64
    else:
        result = await python(code, limits={"pids": 16, "seconds": 2})
        assert result.stdout.split("\n")[0] == "14 11"
        assert result.timed_out


async def test_a_real_shell_fork_bomb_ends_in_time(sandbox, spec, key):
    result = await sandbox.run(
        spec("bash", "-c", ":(){ :|:& };:; sleep 60", limits={"pids": 32, "seconds": 2}), key=key
    )
    assert result.exit_code != 0
    assert result.duration_ms < 6000


@pytest.mark.parametrize("folder", ["/work", "/tmp"])
async def test_disk_space_is_limited(python, folder):
    code = f"""
try:
    with open('{folder}/full', 'wb') as file:
        while True: file.write(b'x' * 65536)
except OSError as error:
    print(error.errno, __import__('os').path.getsize('{folder}/full') <= 4 * 2**20)
"""
    result = await python(code, limits={"tmpfs_bytes": 4 * 2**20})
    assert result.stdout in {"28 True\n", "27 True\n"}


async def test_processor_time_is_limited(python, lane):
    code = """
import os, time
end = time.monotonic() + 2
while time.monotonic() < end: pass
print(time.process_time())
"""
    # gVisor counts ticks in which a thread was ready to run. The limit is on all of gVisor.
    most = 1.5 if lane.name == "gvisor" else 1.0
    assert float((await python(code, limits={"cpus": 0.25})).stdout) < most


@pytest.mark.parametrize("address", ["169.254.169.254", "1.1.1.1", "172.17.0.1"])
async def test_no_address_is_reachable(python, lane, address):
    code = f"""
import socket
try: socket.create_connection(('{address}', 80), timeout=3); print('connected')
except OSError as error: print(error.errno)
"""
    assert (await python(code)).stdout == ("113\n" if lane.name == "gvisor" else "101\n")


async def test_no_name_resolves(python):
    code = (
        "import socket\ntry: print(socket.getaddrinfo('localhost.example', 80))\nexcept OSError as e: print('refused')"
    )
    assert (await python(code)).stdout == "refused\n"


async def test_only_loopback_exists(python):
    assert (await python("import socket; print([name for _, name in socket.if_nameindex()])")).stdout == "['lo']\n"


@pytest.mark.parametrize(
    "path", ["/x", "/etc/passwd", "/usr/lib/python3.11/os.py", "/root/x", "/dev/x", "/proc/sys/kernel/hostname"]
)
async def test_nothing_outside_the_working_directory_can_be_written(python, path):
    result = await python(f"open('{path}', 'a').write('x')")
    assert result.exit_code == 1
    assert "Read-only file system" in result.stderr or "Permission denied" in result.stderr


async def test_the_root_is_mounted_read_only(python):
    result = await python("print([l.split()[3].split(',')[0] for l in open('/proc/mounts') if l.split()[1] == '/'])")
    assert result.stdout == "['ro']\n"


async def test_nothing_in_the_scratch_folders_can_be_executed(python):
    code = """
import os, shutil
for folder in ('/work', '/tmp', '/dev/shm'):
    shutil.copy('/usr/bin/true', folder + '/program')
    try: os.execv(folder + '/program', ['program'])
    except PermissionError: print('refused')
"""
    assert (await python(code)).stdout == "refused\n" * 3


async def test_there_are_no_capabilities(python):
    result = await python("print({l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')})")
    assert result.stdout == f"{ {'0' * 16} }\n"


async def test_no_new_privileges_can_be_had(python):
    assert (await python("import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))")).stdout == "1\n"


async def test_system_calls_are_filtered(python):
    assert await status(python, "Seccomp") == "2"


async def test_it_is_nobody_special(python):
    assert (await python("import os; print(os.getresuid(), os.getresgid(), os.getgroups())")).stdout == (
        "(10001, 10001, 10001) (10001, 10001, 10001) [10001]\n"
    )


@pytest.mark.parametrize(
    ("call", "what"),
    [
        ("libc.mount(b'none', b'/work', b'tmpfs', 0, None)", "mount"),
        ("libc.umount2(b'/work', 0)", "umount"),
        ("libc.unshare(0x10000000)", "user namespace"),
        ("libc.unshare(0x00020000)", "mount namespace"),
        ("libc.ptrace(16, 1, 0, 0)", "attach to the supervisor"),
        ("libc.setns(os.open('/proc/self/ns/net', 0), 0)", "enter a namespace"),
        ("libc.chroot(b'/tmp')", "chroot"),
        ("libc.syscall(250, 0, 0, 0, 0)", "keyctl"),
        ("libc.syscall(321, 0, 0, 0)", "bpf"),
        ("libc.syscall(298, 0, 0, 0, 0, 0)", "perf_event_open"),
        ("libc.sethostname(b'mine', 4)", "host name"),
    ],
)
async def test_the_kernel_refuses(python, call, what):
    code = f"import ctypes, os; libc = ctypes.CDLL(None, use_errno=True); print({call}, ctypes.get_errno())"
    assert (await python(code)).stdout.strip() == "-1 1", what


@pytest.mark.parametrize("name", ["fd/1", "mem", "environ", "root/etc"])
async def test_the_supervisor_cannot_be_touched_through_proc(python, lane, name):
    """Else a command could forge its own report."""
    result = await python(f"import os; print(os.open('/proc/1/{name}', os.O_RDONLY))")
    # gVisor opens these two. The report is authenticated, and the environment has nothing that is not the command's.
    if lane.name == "gvisor" and name in {"fd/1", "environ"}:
        assert result.exit_code == 0
    else:
        assert "Permission denied" in result.stderr


async def test_the_supervisors_environment_has_no_secret(python, lane):
    result = await python("print(sorted(l.split('=')[0] for l in open('/proc/1/environ').read().split(chr(0))))")
    if lane.name == "gvisor":
        assert result.stdout == "['', 'HOME', 'HOSTNAME', 'LANG', 'PATH']\n"
    else:
        assert "Permission denied" in result.stderr


READS = """
import ctypes, os, re
class Piece(ctypes.Structure): _fields_ = [("start", ctypes.c_void_p), ("length", ctypes.c_size_t)]
libc = ctypes.CDLL(None, use_errno=True)
libc.process_vm_readv.argtypes = [ctypes.c_int] + 2 * [ctypes.POINTER(Piece), ctypes.c_ulong] + [ctypes.c_ulong]
parent = {parent}
try: maps = open(f"/proc/{{parent}}/maps").read()
except OSError: maps = "400000-401000 rw-p"
start, end = (int(each, 16) for each in re.search("([0-9a-f]+)-([0-9a-f]+) rw", maps).groups())
found = ctypes.create_string_buffer(end - start)
here, there = Piece(ctypes.addressof(found), end - start), Piece(start, end - start)
print(libc.process_vm_readv(parent, here, 1, there, 1, 0), ctypes.get_errno())
print(libc.ptrace(16, parent, 0, 0), ctypes.get_errno())
try: print(os.pread(os.open(f"/proc/{{parent}}/mem", os.O_RDONLY), 1, start))
except OSError: print("refused")
"""


async def test_the_supervisors_memory_cannot_be_read(python):
    """The key of the report is there."""
    assert (await python(READS.format(parent=1))).stdout == "-1 1\n-1 1\nrefused\n"


async def test_a_forged_report_on_standard_output_is_only_text(python):
    result = await python("import os; os.write(1, b'x 0 0 0 0 0\\n'); os._exit(3)")
    assert (result.exit_code, result.stdout) == (3, "x 0 0 0 0 0\n")


@pytest.mark.parametrize("line", ["x 0 0 0 0 7", "o" + "Zm9yZ2Vk", "b", "f", "x 0 0 0 0 7 " + "0" * 32, "0" * 40_000])
async def test_the_program_cannot_write_its_supervisors_report(python, line):
    """gVisor lets it open the supervisor's standard output. What it writes there is no report."""
    code = f"""
import os, time
report = os.open('/proc/1/fd/1', os.O_WRONLY)
os.write(report, {line!r}.encode() + b'\\n')
time.sleep(2)
os._exit(3)
"""
    outcome = await outcome_of(python(code))
    if isinstance(outcome, str):
        assert "is not its supervisor's" in outcome
        assert await outcome_of(python(code)) == outcome, "a retry reads the same"
    else:
        assert "Permission denied" in outcome.stderr
        assert (outcome.exit_code, outcome.stdout) == (1, "")


async def test_the_program_cannot_take_lines_out_of_its_supervisors_report(python):
    code = """
import os, threading
report = os.open('/proc/1/fd/1', os.O_RDONLY)
def steal():
    while os.read(report, 4096): pass
threading.Thread(target=steal, daemon=True).start()
for number in range(200): print('line', number, flush=True)
"""
    outcome = await outcome_of(python(code, limits={"seconds": 5}))
    if isinstance(outcome, str):
        assert "is not its supervisor's" in outcome
    else:
        assert outcome.stdout in {"", "".join(f"line {number}\n" for number in range(200))}


async def test_the_engine_sees_the_walls_too(python, container):
    await python("pass")
    seen = container.get().attrs
    host = seen["HostConfig"]
    assert host["Binds"] is None
    assert not host.get("Mounts")
    assert (host["Privileged"], host["ReadonlyRootfs"], host["NetworkMode"]) == (False, True, "none")
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["Memory"] == host["MemorySwap"] == 128 * 2**20
    assert seen["Mounts"] == []


@pytest.mark.parametrize(
    "path", ["/etc/x", "../x", "a/../../x", "a/..", "", ".", "./a", "a//b", "a/", "nul\0", "a" * 256, "b/" * 2000 + "c"]
)
async def test_files_outside_the_working_directory_are_refused(sandbox, spec, key, container, path):
    with pytest.raises(Invalid) as refused:
        await sandbox.run(spec("true", files={path: "x"}), key=key)
    assert refused.value.fields["problems"][0]["path"] == path
    assert not container.exists()


async def test_a_path_that_is_a_file_and_a_folder_is_refused(sandbox, spec, key):
    with pytest.raises(Invalid, match="file and a directory"):
        await sandbox.run(spec("true", files={"a": "x", "a/b": "y"}), key=key)


async def test_files_that_do_not_fit_are_refused_before_anything_starts(sandbox, spec, key):
    with pytest.raises(TooLarge, match="tmpfs_bytes"):
        await sandbox.run(spec("true", files={"a": "x" * 2**21}, limits={"tmpfs_bytes": 2**20}), key=key)


async def test_standard_input_takes_no_space_from_the_command(python):
    code = "open('/tmp/x', 'w').write('x' * 900_000); import sys; print(len(sys.stdin.read()))"
    result = await python(code, stdin="y" * 800_000, limits={"tmpfs_bytes": 2**20})
    assert (result.stdout, result.stderr) == ("800000\n", "")
