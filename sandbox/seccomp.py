"""Seccomp profiles of sandboxes: the system calls that a program may make, by purpose; every other one fails.

The engine's default profile serves all kinds of containers. `script` serves a program without privileges, devices and
network: only 64-bit calls, three socket families, and no call that makes a file in memory (it could be executed), opens
a namespace, traces another process, or reaches a large part of the kernel that such programs do not need.
A call with the number of a newer kernel fails with ENOSYS, so that C libraries take the older way.

`browser` is `script` and what a browser confines its own pages with: user, PID and network namespaces, and chroot.
"""

import hashlib
import json
from functools import cache
from typing import Any

from capsules.tools.tool import SeccompProfile

_FILES = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr
    lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev
    pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr
    splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime
    utimensat utimes write writev
"""
_WAITING = """
    alarm clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
    epoll_wait eventfd eventfd2 futex futex_waitv getitimer gettimeofday nanosleep pause poll ppoll pselect6 select
    setitimer signalfd signalfd4 time timer_create timer_delete timer_getoverrun timer_gettime timer_settime
    timerfd_create timerfd_gettime timerfd_settime times
"""
_MEMORY = """
    brk madvise membarrier mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall munmap
    pkey_alloc pkey_free pkey_mprotect
"""
_PROCESSES = """
    arch_prctl capget capset execve exit exit_group fork get_robust_list getcpu getegid geteuid getgid getgroups getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get
    kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64
    restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
    sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_yield seccomp set_robust_list
    set_tid_address setfsgid setfsuid setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid
    setrlimit setsid setuid sigaltstack sysinfo tgkill tkill uname vfork wait4 waitid
"""
_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
    sendto setsockopt shutdown
"""

EPERM, ENOSYS = 1, 38
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
NEW_NAMESPACES = 0x7E020080
"""Flags of clone(2) that open a namespace: mount, cgroup, UTS, IPC, user, PID, network, and time."""
SIGNAL_OF_CHILD = 0x80
"""In clone(2) this bit belongs to the signal that the parent gets, and only clone3(2) reads it as a time namespace."""
BROWSER_NAMESPACES = 0x70000000
"""Flags of the namespaces that a browser opens: user, PID, network."""


def profile_digest(name: SeccompProfile, *, gvisor: bool = False) -> str:
    """Return the digest of a profile. It labels each container, so that what confined a program can be told later."""
    return "sha256:" + hashlib.sha256(seccomp_profile(name, gvisor=gvisor).encode()).hexdigest()


@cache
def seccomp_profile(name: SeccompProfile, *, gvisor: bool = False) -> str:
    """Return the profile as the JSON that the engine takes (the format of Docker's seccomp profiles).

    gvisor: the runtime is gVisor, which reads the profile with `--oci-seccomp`. It answers EPERM to every call that is
    refused, so that C libraries would not fall back from clone3(2). With it a program can only open namespaces of
    gVisor's kernel, which has this one container.
    """
    allowed_namespaces = BROWSER_NAMESPACES if name == "browser" else 0
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": EPERM,
            # No 32-bit calls: their numbers and arguments differ, and none of our images has programs that make them.
            "archMap": [
                {"architecture": architecture, "subArchitectures": []}
                for architecture in ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
            ],
            "syscalls": [
                _allow(*(_FILES + _WAITING + _MEMORY + _PROCESSES + _SOCKETS).split()),
                *(_allow("socket", _equals(0, family)) for family in (UNIX, INET, INET6)),
                _allow("socket", _equals(0, NETLINK), _equals(2, 0)),  # the routing family: names of interfaces
                _allow("socketpair", _equals(0, UNIX)),
                _allow("clone", _without(0, NEW_NAMESPACES & ~SIGNAL_OF_CHILD & ~allowed_namespaces)),
                *(_browser_calls() if name == "browser" else ()),
                # Its flags stand in memory, where a filter cannot read them. C libraries fall back to clone(2).
                _allow("clone3") if gvisor else {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
                *(_allow("personality", _equals(0, query)) for query in (0, 0xFFFFFFFF)),
            ],
        }
    )


def _browser_calls() -> tuple[dict[str, Any], ...]:
    return _allow("chroot"), _allow("unshare", _without(0, 0xFFFFFFFFFFFFFFFF & ~BROWSER_NAMESPACES))


def _allow(*names_and_arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - names, then conditions on arguments
    names = [each for each in names_and_arguments if isinstance(each, str)]
    conditions = [each for each in names_and_arguments if not isinstance(each, str)]
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": conditions}


def _equals(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _without(index: int, mask: int) -> dict[str, Any]:
    """Require that no bit of the mask is set."""
    return {"index": index, "value": mask, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
