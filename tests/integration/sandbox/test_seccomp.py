"""Our seccomp profile: every way out that a program may try by system calls, tried by one, and what must go on working.

One container makes all attempts, each in a process of its own, and prints how each ended: a number is the call's error
(1: EPERM, 38: ENOSYS), `did it` means that it went through, `signal n` that the kernel ended the process.
"""

import json
import platform
from collections.abc import Mapping

import pytest

from capsules.tools.tool import ContainerLimits, ContainerSpec
from sandbox.seccomp import profile_digest

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the attempts use the call numbers of x86-64")

CALLS = {
    # executable memory where nothing may be executed, and memory that nobody can look into
    "memfd_create": (319, "b'x'", 0),
    "memfd_secret": (447, 0),
    "execveat": (322, 0, "b'/bin/true'", 0, 0, 0),
    # other processes
    "ptrace": (101, 16, 1, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
    "process_madvise": (440, 0, 0, 0, 0, 0),
    "pidfd_getfd": (438, 0, 0, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "migrate_pages": (256, 0, 0, 0, 0),
    "move_pages": (279, 0, 0, 0, 0, 0, 0),
    # namespaces
    **{f"unshare {flag:#x}": (272, flag) for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000)},
    **{f"unshare {flag:#x}": (272, flag) for flag in (0x10000000, 0x20000000, 0x40000000, 0x80)},
    "setns": (308, "os.open('/proc/self/ns/net', 0)", 0),
    "clone of a user namespace": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone of a mount namespace": (56, 0x20000 | 17, 0, 0, 0, 0),
    "clone with upper bits": (56, 1 << 32 | 0x10000000 | 17, 0, 0, 0, 0),
    "clone3": (435, "bytes(88)", 88),
    # file systems
    "mount": (165, "b'none'", "b'/work'", "b'tmpfs'", 0, 0),
    "umount2": (166, "b'/work'", 0),
    "pivot_root": (155, "b'/work'", "b'/work'"),
    "chroot": (161, "b'/work'"),
    "fsopen": (430, "b'tmpfs'", 0),
    "fsmount": (432, 0, 0, 0),
    "fspick": (433, -100, "b'/work'", 0),
    "move_mount": (429, -100, "b'/work'", -100, "b'/tmp'", 0),
    "open_tree": (428, -100, "b'/work'", 1),
    "mount_setattr": (442, -100, "b'/work'", 0, "bytes(32)", 32),
    "name_to_handle_at": (303, -100, "b'/work'", "bytes(136)", "bytes(8)", 0),
    "open_by_handle_at": (304, -100, "bytes(136)", 0),
    "fanotify_init": (300, 0, 0),
    "quotactl": (179, 0, 0, 0, 0),
    "swapon": (167, "b'/work/x'", 0),
    "acct": (163, "b'/work/x'"),
    # parts of the kernel with a record of faults
    "bpf": (321, 0, 0, 0),
    "perf_event_open": (298, "bytes(128)", 0, -1, -1, 0),
    "io_uring_setup": (425, 8, "bytes(120)"),
    "io_uring_enter": (426, 0, 0, 0, 0, 0),
    "io_uring_register": (427, 0, 0, 0, 0),
    "userfaultfd": (323, 0),
    "io_setup": (206, 8, "bytes(8)"),
    "vmsplice": (278, 1, 0, 0, 0),
    "add_key": (248, "b'user'", "b'a'", "b'b'", 1, -2),
    "request_key": (249, "b'user'", "b'a'", 0, -2),
    "keyctl": (250, 0, 0, 0, 0),
    "modify_ldt": (154, 0, "bytes(16)", 16),
    "lookup_dcookie": (212, 0, 0, 0),
    "mbind": (237, 0, 0, 0, 0, 0, 0),
    "set_mempolicy": (238, 0, 0, 0),
    "msgget": (68, 0, 0o1600),
    "shmget": (29, 0, 4096, 0o1600),
    "semget": (64, 0, 1, 0o1600),
    "mq_open": (240, "b'x'", 0o102, 0o600, 0),
    # the machine
    "init_module": (175, 0, 0, "b''"),
    "finit_module": (313, 0, "b''", 0),
    "delete_module": (176, "b'x'", 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "kexec_file_load": (320, 0, 0, 0, 0, 0),
    "reboot": (169, 0xFEE1DEAD, 672274793, 0, 0),
    "iopl": (172, 3),
    "ioperm": (173, 0, 1, 1),
    "syslog": (103, 3, "bytes(64)", 64),
    "settimeofday": (164, "bytes(16)", 0),
    "clock_settime": (227, 0, "bytes(16)"),
    "adjtimex": (159, "bytes(208)"),
    "sethostname": (170, "b'mine'", 4),
    "setdomainname": (171, "b'mine'", 4),
    "vhangup": (153,),
    "personality without random addresses": (135, 0x0040000),
    # sockets beyond UNIX, IPv4, IPv6 and the names of interfaces
    "socket of virtual machines (vsock)": (41, 40, 1, 0),
    "socket of packets": (41, 17, 3, 0),
    "socket of the kernel's ciphers": (41, 38, 5, 0),
    "socket of bluetooth": (41, 31, 3, 0),
    "socket of CAN": (41, 29, 3, 1),
    "socket of TIPC": (41, 30, 1, 0),
    "socket of RDS": (41, 21, 5, 0),
    "socket of keys": (41, 15, 3, 2),
    "socket of XDP": (41, 44, 3, 0),
    "socket of KCM": (41, 41, 2, 0),
    "socket of SMC": (41, 43, 1, 0),
    "socket of QRTR": (41, 42, 2, 0),
    "netlink of the firewall": (41, 16, 3, 12),
    "netlink of audit": (41, 16, 3, 9),
    "netlink of devices": (41, 16, 3, 15),
    "socket of a family with upper bits": (41, 1 << 32 | 40, 1, 0),
    "pair of TIPC sockets": (53, 30, 1, 0, "bytes(8)"),
}

PROGRAMS = {
    "a call of 32-bit programs": """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
""",
    "a call with the bit of x32": "call(0x40000000 | 39)",
    "a program in the working directory": """
import shutil; shutil.copy("/bin/true", "/work/true"); os.execv("/work/true", ["true"])
""",
    "a program in /tmp": 'import shutil; shutil.copy("/bin/true", "/tmp/true"); os.execv("/tmp/true", ["true"])',
    "a program in /dev/shm": """
import shutil; shutil.copy("/bin/true", "/dev/shm/true"); os.execv("/dev/shm/true", ["true"])
""",
    "a program on standard input": 'os.execv("/proc/self/fd/0", ["true"])',
    "a library in the working directory": """
import glob, shutil
shutil.copy(glob.glob("/lib/*/libm.so.6")[0], "/work/libm.so"); ctypes.CDLL("/work/libm.so")
""",
    "the loader on a program in the working directory": """
import shutil
shutil.copy("/bin/true", "/work/loaded")
os.execv("/lib64/ld-linux-x86-64.so.2", ["ld", "/work/loaded"])
""",
}

PLACES = {
    # files by which a program would act on the host
    "the host's core dump handler": 'put("/proc/sys/kernel/core_pattern", "|/work/x")',
    "the host's name": 'put("/proc/sys/kernel/hostname", "mine")',
    "the kernel's emergency keys": 'put("/proc/sysrq-trigger", "h")',
    "the kernel's memory": 'open("/proc/kcore", "rb").read(1) or fail()',
    "the kernel's keys": 'open("/proc/keys").read(1) or fail()',
    "the kernel's timers": 'open("/proc/timer_list").read(1) or fail()',
    "the kernel's log": 'open("/dev/kmsg").read(1)',
    "physical memory": 'open("/dev/mem", "rb").read(1)',
    "input and output ports": 'open("/dev/port", "rb").read(1)',
    "a disk of the host": 'open("/dev/vda", "rb").read(1)',
    "a device node for physical memory": """
os.mknod("/work/mem", 0o20600, os.makedev(1, 1))
open("/work/mem", "rb").read(1)
""",
    "a device node for a disk": """
os.mknod("/work/disk", 0o60600, os.makedev(254, 0))
open("/work/disk", "rb").read(1)
""",
    "the release agent of a control group": """
import glob
agents = glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)
put(agents[0] if agents else fail(), "/work/x")
""",
    "the limit of its control group": """
import glob
limits = glob.glob("/sys/fs/cgroup/memory*/memory.limit_in_bytes") + glob.glob("/sys/fs/cgroup/memory.max")
put(limits[0] if limits else fail(), "999999999999")
""",
    "settings of the kernel": 'put("/sys/kernel/mm/transparent_hugepage/enabled", "never")',
    "modules of the kernel": 'put("/sys/module/kernel/parameters/panic", "1")',
    "the engine's socket": "import socket; socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    "a socket of the host without a name in the file system": """
import socket
names = [line.split()[-1] for line in open("/proc/net/unix") if "@" in line]
socket.socket(socket.AF_UNIX).connect(names[0].replace("@", chr(0)) if names else fail())
""",
    "another root by the supervisor": 'os.listdir("/proc/1/root/etc")',
    "the supervisor's working directory": 'os.listdir("/proc/1/cwd")',
    "the supervisor's memory": 'open("/proc/1/mem", "rb").read(1)',
    "the supervisor's map of memory": 'open("/proc/1/maps").read(1) or fail()',
    "the supervisor's stack": 'open("/proc/1/syscall").read(1)',
    # more than it was given
    "user 0": "os.setuid(0)",
    "group 0": "os.setgid(0)",
    "the groups of root": "os.setgroups([0])",
    "all capabilities": "call(126, (0x20080522).to_bytes(4, 'little') + bytes(4), bytes([255]) * 24)",
    "a file of root": "os.chown('/work', 0, 0)",
    "a file of the image": "os.open('/usr/bin/mine', os.O_CREAT | os.O_WRONLY)",
    "a link to a file of the image": "os.link('/etc/passwd', '/work/passwd')",
    "more open files": "import resource; raised(resource.setrlimit, resource.RLIMIT_NOFILE, (4096, 4096))",
    "larger files": "import resource; raised(resource.setrlimit, resource.RLIMIT_FSIZE, (-1, -1))",
    "core dumps": "import resource; raised(resource.setrlimit, resource.RLIMIT_CORE, (1, 1))",
    "to be spared when memory is short": 'put("/proc/self/oom_score_adj", "-1000")',
    "a higher priority": "os.nice(-5)",
    "a real-time priority": "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))",
    "input into somebody's terminal": 'import fcntl; fcntl.ioctl(0, 0x5412, b"x")',
}

UNDER_GVISOR = {
    # What gVisor lets a program do to gVisor's own kernel, which has this one container and ends with it.
    "clone3": "opens namespaces of gVisor's kernel; a seccomp filter cannot read its flags",
    "a call of 32-bit programs": "is taken for a call of gVisor's kernel, which asks the host for nothing by it",
    "a library in the working directory": "`noexec` holds for execve only; memory that is executable can be had anyway",
    "the loader on a program in the working directory": "the same",
    "the supervisor's map of memory": "addresses only; the memory itself cannot be read",
    "to be spared when memory is short": "is kept as a number; the host judges all of gVisor",
    "a higher priority": "the same",
}
"""Attempts that are refused by the kernel of the host and not by gVisor, and why they lead nowhere."""

RUNNER = """
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def call(number, *arguments):
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    if libc.syscall(ctypes.c_long(number), *given) == -1:
        raise OSError(ctypes.get_errno(), "")

def fail():
    raise OSError(2, "it is not there, or empty")

def put(path, text):
    os.write(os.open(path, os.O_WRONLY), text.encode())

def raised(function, *arguments):
    try:
        function(*arguments)
    except ValueError:
        raise OSError(1, "not allowed to raise the limit")

def attempt(code):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.set_inheritable(writing, False)
        try:
            exec(code)
            said = "did it"
        except OSError as error:
            said = str(error.errno or error)
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 1000).decode()
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    # Where nothing was said, another program took its place.
    return said or (f"exit {os.WEXITSTATUS(status)}" if os.WEXITSTATUS(status) else "did it")

print(json.dumps({name: attempt(code) for name, code in json.load(open("attempts.json")).items()}))
"""


def module_spec(image: str, program: str, **rest: object) -> ContainerSpec:
    return ContainerSpec(image=image, command=("python3", "-c", program), limits=ContainerLimits(seconds=120), **rest)


def code_of(number: int, *arguments: object) -> str:
    return f"call({', '.join([str(number), *map(str, arguments)])})"


async def outcomes(sandbox, image) -> Mapping[str, str]:
    """Make all attempts in one container, and return how each ended by its name."""
    codes = {name: code_of(*call) for name, call in CALLS.items()} | PROGRAMS | PLACES
    outcome = await sandbox.run(
        module_spec(image, RUNNER, files={"attempts.json": json.dumps(codes)}), key="seccomp attempts"
    )
    await sandbox.discard("seccomp attempts")
    assert outcome.exit_code == 0, outcome.stderr
    found: dict[str, str] = json.loads(outcome.stdout)
    return found


@pytest.fixture(scope="module")
async def attempts(sandbox, image) -> Mapping[str, str]:
    return await outcomes(sandbox, image)


@pytest.fixture
def said(attempts, lane, name) -> str:
    """How the attempt ended."""
    if lane.name == "gvisor" and name in UNDER_GVISOR:
        pytest.skip(f"gVisor: {UNDER_GVISOR[name]}")
    return attempts[name]


@pytest.mark.parametrize("name", CALLS)
def test_the_call_is_refused(said):
    assert said in {"1", "38"}


@pytest.mark.parametrize("name", list(PROGRAMS)[:2])
def test_a_call_of_another_abi_does_nothing(said):
    assert said in {"signal 31", "1", "38"}


@pytest.mark.parametrize("name", list(PROGRAMS)[2:])
def test_what_the_program_wrote_is_not_executed(said):
    assert said in {"1", "13", "exit 127"} or "failed to map segment" in said, said


@pytest.mark.parametrize("name", PLACES)
def test_a_file_or_a_right_beyond_its_own_is_refused(said):
    assert said.isdigit(), said


BROWSER = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
USER, PID, NET, MOUNT = 0x10000000, 0x20000000, 0x40000000, 0x20000
print(libc.unshare(USER | MOUNT), ctypes.get_errno())
print(libc.unshare(USER | PID | NET))
os.chroot("/tmp")
print(os.listdir("/"), libc.mount(b"none", b"/", b"tmpfs", 0, None), ctypes.get_errno())
"""


async def test_the_profile_of_a_browser_opens_its_namespaces_and_nothing_else(lane, image, attempts):
    """What a browser confines its pages with: namespaces for users, processes and network, and another root."""
    sandbox = lane.sandbox(image, profiles={image: "browser"})
    opened = {name for name, said in (await outcomes(sandbox, image)).items() if said != attempts[name]}
    assert opened <= {"unshare 0x10000000", "clone of a user namespace", "clone with upper bits"}
    outcome = await sandbox.run(module_spec(image, BROWSER), key="browser")
    await sandbox.discard("browser")
    assert (outcome.stdout, outcome.stderr) == ("-1 1\n0\n[] -1 1\n", "")


async def test_a_container_says_what_confined_it(lane, sandbox, engine, image):
    await sandbox.run(module_spec(image, "pass"), key="profile")
    label = engine.containers.get(sandbox.name("profile")).labels["somagent.seccomp"]
    await sandbox.discard("profile")
    assert label == f"script {profile_digest('script', gvisor=lane.name == 'gvisor')}"
    assert profile_digest("script") != profile_digest("browser")


async def test_ordinary_programs_run(sandbox, image):
    """What scripts use every day: threads, processes, semaphores, sockets, pipes, databases, time, links, locks."""
    program = """
import asyncio, fcntl, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading, time
threading.Thread(target=time.sleep, args=(0.01,)).start()
assert subprocess.run("seq 5 | sort -r | head -1 | tr 5 x", shell=True, capture_output=True).stdout == b"x\\n"
with multiprocessing.get_context("fork").Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]
assert multiprocessing.Lock().acquire()
database = sqlite3.connect("/work/a.db"); database.execute("create table t (x)"); database.commit()
one, other = socket.socketpair(); one.send(b"x"); assert other.recv(1) == b"x"
assert [name for _, name in socket.if_nameindex()] == ["lo"]
server = socket.create_server(("127.0.0.1", 0)); socket.create_connection(server.getsockname())
async def main(): assert (await (await asyncio.create_subprocess_exec("true")).wait()) == 0
asyncio.run(main())
os.mkfifo("/work/fifo"); os.symlink("a", "/work/link"); os.link("/work/a.db", "/work/b.db")
with open("/work/lock", "w") as file: fcntl.flock(file, fcntl.LOCK_EX)
with tempfile.NamedTemporaryFile() as file: os.sendfile(file.fileno(), os.open("/work/a.db", 0), 0, 10)
os.sched_getaffinity(0); os.getrandom(8); os.statvfs("/work"); os.nice(1); os.umask(0o77)
print("all of it")
"""
    outcome = await sandbox.run(module_spec(image, program), key="ordinary programs")
    await sandbox.discard("ordinary programs")
    assert (outcome.stdout, outcome.stderr) == ("all of it\n", "")
