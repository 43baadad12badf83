"""`celery -A celery_app jobs ...`, typed into a shell, as a process that is forked (`preloaded.py`): of the 1.2 s of a processor that such
a command takes, all but a tenth are imports, and pages of tasks have dozens.

The shell's own process is a small client. It hands its output to a thread of the test's process, which forks the command, and ends as that
ends. The command has the shell's settings and PATH, and else the environment of the tests.
"""

from __future__ import annotations

import atexit
import json
import os
import secrets
import shlex
import socket
import sys
import threading
from functools import cache
from pathlib import Path

from tests import preloaded

#: What a client may say, in bytes.
LARGEST = 2**16
#: The client, which imports nothing of ours.
CLIENT = Path(__file__).with_name("typed_client.py")


def program(python: str) -> str:
    """What a shell is to do for `celery`. :param python: by which it starts whatever is not forked, quoted."""
    started = f'exec {python} -m celery "$@"'
    if sys.platform != "linux":
        return started
    client = f"{python} -I -S {shlex.quote(str(CLIENT))} {_address()}"
    return f'case "$PWD $*" in {shlex.quote(f"{preloaded.ROOT} -A celery_app jobs ")}*) exec {client} "$@" ;; esac\n{started}'


@cache
def _address() -> str:
    """Where a thread of this process listens: a name that is gone with it."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    name = f"pipeline-jobs-tests-{secrets.token_hex(8)}"
    listening.bind(f"\0{name}")
    listening.listen()
    atexit.register(listening.close)
    threading.Thread(target=_serve, args=(listening,), daemon=True).start()
    return name


def _serve(listening: socket.socket) -> None:
    while True:
        try:
            asking, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(asking,), daemon=True).start()


def _answer(asking: socket.socket) -> None:
    """Fork what a client asks for, and tell it how that ended."""
    with asking:
        said, files, _, _ = socket.recv_fds(asking, LARGEST, 2)
        words, variables = json.loads(said)
        command, env = (sys.executable, "-m", "celery", *words), {**preloaded.USUAL, **variables}
        try:
            process = preloaded.fork(command, env=env, stdout=files[0], stderr=files[1], dies_with_us=True)
        finally:
            for file in files:
                os.close(file)
        asking.send(str(process.wait()).encode())
