"""What a worker does as it starts: its name, its default limits; and each pool child: die with its parent, be interruptible."""

from __future__ import annotations

import secrets
import signal
from typing import Any

from billiard.util import set_pdeathsig
from celery.signals import worker_init, worker_process_init

from pipeline_jobs.run import install_interrupt
from pipeline_jobs.worker.hints import JOBS_QUEUE


def name_worker(sender: Any, **_: Any) -> None:
    """`worker_init`: an identity that a restarted worker of the same name does not share; leases are held under it."""
    jobs = getattr(sender.app, "jobs", None)
    if jobs is None:
        return
    jobs.worker_id = f"{sender.hostname}/{secrets.token_hex(4)}"
    options = sender.options
    if JOBS_QUEUE in sender.app.amqp.queues.consume_from and not options.get("autoscale") and not options.get("concurrency"):
        # There is no Celery setting for the limits of autoscale; this is where the flag's value would be.
        options["autoscale"] = [jobs.settings.max_concurrent_jobs, 1]


def child_started(**_: Any) -> None:
    """`worker_process_init`: no child outlives its worker, and a cancel can reach a stage."""
    set_pdeathsig(signal.SIGKILL)
    install_interrupt()


def install() -> None:
    """Connect both; connecting twice is one connection."""
    worker_init.connect(name_worker, dispatch_uid="pipeline-jobs-worker-init")
    worker_process_init.connect(child_started, dispatch_uid="pipeline-jobs-child-init")
