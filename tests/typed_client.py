"""`typed_client.py ADDRESS WORDS ...`: a command of a shell, forked elsewhere (`forked_commands.py`). It imports nothing of ours."""

from __future__ import annotations

import json
import os
import socket
import sys

#: Variables of the shell that its command has too.
TAKEN = ("PIPELINE_", "ENABLE_PIPELINE_", "PATH")


def ask(address: str, words: list[str]) -> int:
    """:return: what to end with: as a shell tells it, where a signal ended the command."""
    variables = {name: value for name, value in os.environ.items() if name.startswith(TAKEN)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asks:
        asks.connect(f"\0{address}")
        socket.send_fds(asks, [json.dumps([words, variables]).encode()], [1, 2])
        code = int(asks.recv(100))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
