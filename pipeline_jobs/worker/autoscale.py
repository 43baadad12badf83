"""Celery's autoscaler without its open bug: it never takes a child that has a job (celery#7266, billiard#323)."""

from __future__ import annotations

from typing import Any

from celery.worker import state
from celery.worker.autoscale import Autoscaler as CeleryAutoscaler


class Autoscaler(CeleryAutoscaler):
    """`worker_autoscaler`. Its maximum is the worker's number of slots, live."""

    @property
    def qty(self) -> int:
        """Jobs that need a process. A lost connection clears the reserved ones; those that run still run."""
        return len(set(state.reserved_requests) | set(state.active_requests))

    def update(self, max: int | None = None, min: int | None = None) -> Any:
        """As `celery control autoscale MAX MIN` asks; the consumer's own limit (set once at start) follows."""
        changed = super().update(max, min)
        if max is not None:
            self.worker.max_concurrency = max
        return changed

    def _shrink(self, n: int) -> None:
        # A request that was sent to a child but not accepted yet makes that child look idle: wait until all are accepted.
        if any(request not in state.active_requests for request in tuple(state.reserved_requests)):
            return
        super()._shrink(n)
