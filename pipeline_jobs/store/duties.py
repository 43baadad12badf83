"""What goes through very many jobs: a page at a time, as long as its work takes; whoever calls goes on while there is more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline_jobs.store.runner import Runner


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of a page of reconciling."""

    looked_at: int
    #: How many were put right.
    jobs: int
    counters: int
    #: False: it was the last page of all live jobs.
    more: bool


class Duties(Runner):
    """Served by the duties of maintenance, and by whoever wants to see the outcome at once."""

    def recount(self) -> int:
        """Recount what is counted of running jobs and workers. :return: counters put right."""
        return int(self.run("recount", oldest=500).counters)

    def reconcile(self, limit: int = 500) -> Reconciled:
        """Look at up to `limit` live jobs, from where the last call ended."""
        reply = self.run("reconcile", limit=limit)
        return Reconciled(int(reply.looked_at), int(reply.jobs), int(reply.counters), bool(reply.more))

    def trim(self, tenants: Sequence[str], most: int, share: int, limit: int, keep: int = -1, unused: float = 1e9) -> int:
        """Remove ended jobs of tenants that keep too many.

        :param most: number of ended jobs that one without a limit of its own may keep.
        :param share: bytes of memory that one may hold now (-1: any): of one that holds more, jobs that were cancelled unstarted go.
        :param keep: as `Store.purge`.
        :param unused: outputs of stages that no other job has used for so many seconds go.
        :return: how many were removed; fewer than `limit`: nothing is left to be.
        """
        return int(self.run("trim", tenants=tenants, most=most, share=share, limit=limit, keep=keep, unused=unused))

    def settle(self) -> tuple[bool, bool]:
        """Serve jobs whose dependencies have ended, and write tags of jobs of large batches: a page of them.

        :return: whether some of those, and of these, are left: ask again.
        """
        reply = self.run("settle")
        return bool(reply.waiting), bool(reply.untagged)
