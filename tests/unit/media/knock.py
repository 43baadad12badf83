"""What a hostile file would do once it runs in a decoder: `knock.py WORKDIR SECRET PORT VICTIM`, behind the walls.

Writes JSON: the walls, and of each attempt, before and after `go_offline`, how it ended ("passed" or the error's name).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from pipeline_jobs.media import jail

_GIVEN = sys.argv[1:] if __name__ == "__main__" else ["", "", "0", "0"]
WORK, SECRET, PORT, VICTIM = Path(_GIVEN[0]), Path(_GIVEN[1]), int(_GIVEN[2]), int(_GIVEN[3])
LIBC = ctypes.CDLL(None, use_errno=True)
#: Of x86-64 and ARM64.
PROCESS_VM_READV, IO_URING, PTRACE, USERFAULTFD = ((310, 425, 101, 323), (270, 425, 117, 282))[os.uname().machine == "aarch64"]


def call(number: int, *arguments: object) -> None:
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def connect(family: int, address: object) -> None:
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect(address)  # type: ignore[arg-type]


def leave_behind() -> None:
    if os.fork() == 0:
        os._exit(0)
    os.wait()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "read a secret": lambda: SECRET.read_bytes(),
    "list its folder": lambda: os.listdir(SECRET.parent),
    "read it by another name": lambda: Path("/proc/self/root", *SECRET.parts[1:]).read_bytes(),
    "read the accounts": lambda: Path("/etc/passwd").read_bytes(),
    "read the environment of the parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "read the memory of the parent": lambda: os.close(os.open(f"/proc/{os.getppid()}/mem", os.O_RDONLY)),
    "write outside": lambda: (SECRET.parent / "new").write_bytes(b""),
    "cut a secret": lambda: os.truncate(SECRET, 0),
    "link to a secret": lambda: (WORK / "link").symlink_to(SECRET),
    "link hard to a secret": lambda: os.link(SECRET, WORK / "hard"),
    "move a secret in": lambda: SECRET.rename(WORK / "moved"),
    "make a pipe": lambda: os.mkfifo(WORK / "pipe"),
    "connect to the store": lambda: connect(socket.AF_INET, ("127.0.0.1", PORT)),
    "connect to a service's socket": lambda: connect(socket.AF_UNIX, str(SECRET.parent / "socket")),
    "listen": lambda: socket.create_server(("127.0.0.1", 0)).close(),
    "kill a process of ours": lambda: os.kill(VICTIM, signal.SIGTERM),
    "limit a process of ours": lambda: resource.prlimit(VICTIM, resource.RLIMIT_NOFILE, (1, 1)),
    "slow a process of ours": lambda: os.setpriority(os.PRIO_PROCESS, VICTIM, 19),
    "ptrace": lambda: call(PTRACE, 16, VICTIM, 0, 0),
    "read another's memory": lambda: call(PROCESS_VM_READV, VICTIM, 0, 0, 0, 0, 0),
    "io_uring": lambda: call(IO_URING, 1, 0),
    "userfaultfd": lambda: call(USERFAULTFD, 0),
    "run a file of its own": lambda: run_own(),
    "run a program": lambda: subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True),
    "leave a process behind": leave_behind,
    "make a socket": lambda: socket.socket().close(),
    # What must go on.
    "write to the folder": lambda: (WORK / "file").write_bytes(b"x"),
    "rename in the folder": lambda: (WORK / "file").rename(WORK / "other"),
    "start a thread": lambda: start_thread(),
    "import": lambda: __import__("av"),
}


def run_own() -> None:
    own = WORK / "program"
    own.write_bytes(b"#!" + os.fsencode(os.path.realpath(sys.executable)) + b"\n")
    own.chmod(0o755)
    os.posix_spawn(own, [str(own)], {})


def start_thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    except subprocess.CalledProcessError as error:
        return f"ended with {error.returncode}"
    return "passed"


if __name__ == "__main__":
    walls = jail.enter(WORK, {80, 443})
    before = {name: outcome(attempt) for name, attempt in ATTEMPTS.items()}
    jail.go_offline()
    after = {name: outcome(attempt) for name, attempt in ATTEMPTS.items()}
    print(json.dumps({"landlock": walls.landlock, "seccomp": walls.seccomp, "before": before, "after": after}))
