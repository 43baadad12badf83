"""Walls of the kernel around the process that handles media: Landlock and a seccomp filter, both by ctypes (Linux).

What decodes a hostile file may one day do what the file says. Inside the walls it finds no secret to read, no network to send it over, no
process of ours to reach, and nothing that it can leave behind. `enter` comes first, before any thread; `go_offline` when the media is
there: from then on there are no sockets and no new processes either. What the kernel lacks is left out and said by `enter`.

Where to look things up: `landlock(7)`, `seccomp(2)`, `linux/bpf_common.h`, and the tables of syscalls of each architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline_jobs.media import site_runtime

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

_PR_SET_NO_NEW_PRIVS = 38
# The same on all architectures.
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH, _RULE_PORT = 1, 2
_BIND_TCP, _CONNECT_TCP = 1, 2
#: Name servers answer over TCP what is too long for UDP.
_DNS = 53

_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE, _REFER, _TRUNCATE = 1 << 4 | 1 << 5, 1 << 7 | 1 << 8, 1 << 13, 1 << 14
#: What may be done in the working folder. No links, devices, sockets or programs are made there: a link would lead those who read the
#: folder later, outside the walls, to another file.
_WORK = _WRITE | _READ | _LIST | _REMOVE | _MAKE | _REFER | _TRUNCATE
#: Rights of files; the others are of folders.
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE

#: Libraries, and what they ask of the system. Not /usr or the project's folder as a whole: data may lie in them.
_SYSTEM = (
    "/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/share", "/etc/ld.so.cache",
    "/etc/localtime", "/sys", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/dev/urandom", "/dev/random",
)  # fmt: skip
#: What a look-up of a name and TLS need.
_NETWORK = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols",
    "/etc/mime.types", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
)  # fmt: skip

#: Numbers of syscalls by machine, x86-64 and ARM64; -1: it has none. All of these are refused from the start: they reach into other
#: processes, the kernel or its mounts, and no stage needs one.
_NEVER = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "mount": (165, 40), "umount2": (166, 39),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "mount_setattr": (442, 442), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "open_by_handle_at": (304, 265), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "personality": (135, 92), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
}  # fmt: skip
#: Refused as well once the media is there: sockets, new programs, signals to others. (`send` is `sendto`: write to a socket by `write`.)
_OFFLINE = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269), "execve": (59, 221), "execveat": (322, 281),
    "fork": (57, -1), "vfork": (58, -1), "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}  # fmt: skip
_SOCKET, _CLONE, _CLONE3, _TGKILL, _PRLIMIT, _SECCOMP = (41, 198), (56, 220), (435, 435), (234, 131), (302, 261), (317, 277)
_CLONE_THREAD = 0x10000
_AF_NETLINK = 16

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: Numbers from here on are x86-64's second set, which would go round the list.
_X32 = 0x40000000

_SET_FILTER, _TSYNC = 1, 1
_ALLOW, _REFUSE, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _AND, _RETURN, _IF_EQUAL, _IF_AT_LEAST = 0x20, 0x54, 0x06, 0x15, 0x35
_AT_NUMBER, _AT_ARCH, _AT_ARGUMENTS = 0, 4, 16

_Instruction = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Walls:
    """What stands around this process."""

    #: Version of Landlock's interface; 0: this kernel has none.
    landlock: int
    seccomp: bool

    @property
    def missing(self) -> str:
        """What this kernel lacks, for people; empty: nothing."""
        return " and ".join(name for name, there in (("Landlock", self.landlock), ("seccomp", self.seccomp)) if not there)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Refuses a syscall, or, with `allowed`, refuses it unless an argument (its lower 32 bits, under a mask) is one of those."""

    number: int
    errno: int = errno.EPERM
    argument: int = 0
    mask: int = 0xFFFFFFFF
    allowed: tuple[int, ...] = ()

    def instructions(self) -> list[_Instruction]:
        """With the number of the syscall loaded; one that it is not about goes on behind it."""
        refuse = (_RETURN, 0, 0, _REFUSE | self.errno)
        if not self.allowed:
            return [(_IF_EQUAL, 0, 1, self.number), refuse]
        tests = [(_IF_EQUAL, len(self.allowed) - at, 0, value) for at, value in enumerate(self.allowed)]
        block = [(_LOAD, 0, 0, _AT_ARGUMENTS + 8 * self.argument), (_AND, 0, 0, self.mask), *tests, refuse, (_RETURN, 0, 0, _ALLOW)]
        return [(_IF_EQUAL, 0, len(block), self.number), *block]


def enter(workdir: Path, ports: Iterable[int] | None, readable: Iterable[str] = ()) -> Walls:
    """Put this process, and all that it starts, behind the first walls. Before any thread: Landlock holds for the caller's only.

    :param workdir: the only folder that can be written.
    :param ports: TCP ports that may be connected to; None: any.
    :param readable: what may be read besides what Python and its libraries need.
    """
    if _libc is None:
        return Walls(0, False)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    abi = _landlock(workdir, ports, readable)
    rules = [*_refused(_NEVER), _Rule(_number(_SOCKET), allowed=(socket.AF_INET, socket.AF_INET6, _AF_NETLINK))]
    return Walls(abi, _seccomp([*rules, _Rule(_number(_PRLIMIT), allowed=(0,))]))


def go_offline() -> None:
    """No socket, no program, no process and no signal to another from now on, in all threads."""
    threads_only = _Rule(_number(_CLONE), mask=_CLONE_THREAD, allowed=(_CLONE_THREAD,))
    # Its flags lie in memory, where no filter sees them; told that there is no such call, the C library takes `clone`.
    no_clone3 = _Rule(_number(_CLONE3), errno.ENOSYS)
    _seccomp([*_refused(_OFFLINE), threads_only, no_clone3, _Rule(_number(_TGKILL), allowed=(os.getpid(),))])


def _call(number: int, *arguments: object) -> int:
    """:raises OSError:"""
    assert _libc is not None
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _landlock(workdir: Path, ports: Iterable[int] | None, readable: Iterable[str]) -> int:
    """:return: the interface's version; 0: not here, and nothing was done."""
    try:
        abi = _call(_LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0
    rights = (1 << (13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16)) - 1
    network = 0 if abi < 4 else _BIND_TCP | (0 if ports is None else _CONNECT_TCP)
    # The last: no signal and no abstract socket beyond the walls.
    attributes = struct.pack("QQQ", rights, network, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = _call(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    for path, allowed in _paths(workdir, readable):
        _allow_path(rules, path, allowed & rights)
    if network & _CONNECT_TCP:
        for port in {*(ports or ()), _DNS}:
            _call(_LANDLOCK_ADD, rules, _RULE_PORT, struct.pack("QQ", _CONNECT_TCP, port), 0)
    _call(_LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)
    return abi


def _paths(workdir: Path, readable: Iterable[str]) -> Iterator[tuple[str, int]]:
    packages = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    python = [*packages, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))]
    here = [str(Path(__file__).parents[1]), str(Path(sys.prefix, "pyvenv.cfg")), str(sysconfig.get_config_var("LIBDIR") or "")]
    libraries = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    for path in (*_SYSTEM, *_NETWORK, *python, *here, *libraries, *readable):
        # The loader of programs lies among the libraries.
        yield path, _READ | _LIST | (_EXECUTE if "/lib" in path else 0)
    for program in filter(None, (os.path.realpath(sys.executable), site_runtime.program())):
        yield program, _READ | _EXECUTE
    yield "/dev/null", _READ | _WRITE
    yield str(workdir), _WORK


def _allow_path(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        _call(_LANDLOCK_ADD, rules, _RULE_PATH, struct.pack("=Qi", rights, place), 0)
    finally:
        os.close(place)


def _seccomp(rules: Iterable[_Rule]) -> bool:
    """:return: False: the kernel has no such thing, and nothing was done."""
    arch = _AUDIT_ARCH.get(platform.machine())
    if _libc is None or arch is None:
        return False
    wrong = (_RETURN, 0, 0, _KILL_PROCESS)
    program: list[_Instruction] = [(_LOAD, 0, 0, _AT_ARCH), (_IF_EQUAL, 1, 0, arch), wrong, (_LOAD, 0, 0, _AT_NUMBER)]
    program += [(_IF_AT_LEAST, 0, 1, _X32), wrong]
    for rule in rules:
        program += rule.instructions()
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    head = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    try:
        # A thread that could not be brought along is told by its number.
        return _call(_number(_SECCOMP), _SET_FILTER, _TSYNC, head) == 0
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL):
            return False
        raise


def _refused(names: dict[str, tuple[int, int]]) -> list[_Rule]:
    return [_Rule(number) for numbers in names.values() if (number := _number(numbers)) >= 0]


def _number(numbers: tuple[int, int]) -> int:
    return numbers[platform.machine() == "aarch64"]
