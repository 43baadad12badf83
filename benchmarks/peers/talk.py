"""How the runner talks to a peer in an environment of its own: a JSON line in, a JSON line out. Standard library only."""

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def serve(**commands: Callable[..., Any]) -> None:
    """Answer `{"do": name, ...arguments}` with what the command gives, until the input ends."""
    # What a library prints must not stand between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        arguments = json.loads(line)
        name = arguments.pop("do")
        print(json.dumps(commands[name](**arguments)), file=answers, flush=True)


def timed(n: int, call: Callable[[], object]) -> float:
    """Seconds that `n` calls take."""
    start = time.perf_counter()
    for _ in range(n):
        call()
    return time.perf_counter() - start


#: What every contender's job carries: what a client of a media service would say.
FIELDS: dict[str, Any] = {
    "url": "https://media.example.com/talks/2026/keynote-recording-final.mp4",
    "quality": "720p",
    "tenant_id": "acme",
    "workspace_id": "main",
}
