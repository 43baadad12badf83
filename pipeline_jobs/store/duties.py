"""What goes through very many jobs: a page at a time, as long as its work takes; whoever calls goes on while there is more."""

from __future__ import annotations

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

    def settle(self) -> tuple[bool, bool]:
        """Serve jobs whose dependencies have ended, and write tags of jobs of large batches: a page of them.

        :return: whether some of those, and of these, are left: ask again.
        """
        reply = self.run("settle")
        return bool(reply.waiting), bool(reply.untagged)
