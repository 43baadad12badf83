"""Named places at which a process can be told to die: `PIPELINE_FAILPOINTS="run.after_claim=kill@3"`, or at each arrival with a chance of
so many per cent: `kill%2`. For chaos tests only.

Read once at import; with the variable unset every `reach` is an empty function call.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
from collections.abc import Callable

from structlog.contextvars import get_contextvars

from pipeline_jobs.exceptions import ConfigurationError

VARIABLE = "PIPELINE_FAILPOINTS"
#: What a process writes to stderr before it dies, and then the place's name and the last job that it was about: who counts deaths need not
#: guess.
LAST_WORD = "failpoint: killed at "

#: Every place there is, and what dies there.
NAMES = {
    "submit.before_publish": "whoever submits, after the record, before the hint (a broker that is not the store)",
    "worker.after_pop": "a worker's main process, with a hint in its hand",
    "claim.asked": "a pool child, with the nonce of its claim noted and nothing sent",
    "claim.answered": "a pool child, with a lease of which it has noted the nonce only",
    "run.after_claim": "a pool child, with the lease and nothing done",
    "run.in_stage": "a pool child, as a stage begins",
    "split.named": "a pool child, with inputs of parts in their table and their files not stored",
    "split.asked": "a pool child, with the inputs of all parts written, before the job waits for them",
    "split.answered": "a pool child, with its job waiting for its parts, before Celery hears of it",
    "run.after_artifact": "a pool child, after all stages, before the finish",
    "finish.asked": "a pool child, with the nonce of its next run noted and nothing sent",
    "finish.answered": "a pool child, after the finish, before it has noted what that has handed over",
    "run.after_finish": "a pool child, after the finish, before Celery hears of it",
    "rescue.midway": "a maintenance child, between two rescue scripts",
    "fire.midway": "a maintenance child, after a schedule's slots were planned, before their jobs are made",
    "webhook.after_take": "a sender of webhooks, with a delivery taken and nothing sent",
    "webhook.after_post": "a sender of webhooks, after the receiver's answer, before it is written",
    "history.before_mark": "a maintenance child, after jobs were written into the history, before the store is told",
    "purge.midway": "a maintenance child, after records went, before their artifacts did",
}


def parse(text: str) -> dict[str, float]:
    """`"a=kill@3,b=kill,c=kill%2"` as `{"a": 3, "b": 1, "c": 0.02}`: at which arrival to die, or with which chance at each.

    :raises ConfigurationError: unknown name or action.
    """
    plan: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, action = item.partition("=")
        found = re.fullmatch(r"kill(?:@([0-9]+)|%([0-9]{1,2}))?", action)
        if name not in NAMES or not found:
            raise ConfigurationError(f"{VARIABLE}: {item!r} is not NAME=kill, kill@N or kill%N with a known name: {', '.join(NAMES)}")
        plan[name] = int(found[2]) / 100 if found[2] else int(found[1] or 1)
    return plan


def _armed(plan: dict[str, float]) -> Callable[[str], None]:
    left = dict(plan)
    lock = threading.Lock()
    chance = random.SystemRandom()

    def reach(name: str) -> None:
        """Die here if told to."""
        if name in left:
            with lock:
                if 0 < plan[name] < 1:
                    now = chance.random() < plan[name]
                else:
                    left[name] -= 1
                    now = left[name] == 0
            if now:
                os.write(2, f"{LAST_WORD}{name} {get_contextvars().get('job_id', '')}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    return reach


def _unarmed(name: str) -> None:
    """Nothing was told to die."""


_plan = parse(os.environ.get(VARIABLE, ""))
reach: Callable[[str], None] = _armed(_plan) if _plan else _unarmed
