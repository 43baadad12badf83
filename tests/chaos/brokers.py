"""The three RabbitMQ nodes of a run, one of which is killed at a time. Nothing here waits: a node takes up to a minute to be back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import requests

from pipeline_jobs.worker.hints import JOBS_QUEUE
from tests.rabbit import Quorum, Rabbit

#: The end of its mark.
LEADER, FOLLOWER = "leader", "follower"


@dataclass(frozen=True, slots=True)
class KilledNode:
    """Which one a fault has killed."""

    #: `broker:2:leader` if it led the queue of jobs, else `broker:2:follower`.
    mark: str
    #: Of its process.
    pid: int


class Brokers:
    """Kills a node and starts it again; the next one only when all three are there, in every queue."""

    def __init__(self, nodes: Sequence[Rabbit], queue: str = JOBS_QUEUE) -> None:
        """:param queue: whose leader is meant."""
        self._nodes, self._queue = nodes, queue
        self._asking = ThreadPoolExecutor(1, "brokers")
        #: The question that is under way or answered, and was asked after the last node was killed or started.
        self._asked: Future[Mapping[str, Quorum]] | None = None
        self._down: Rabbit | None = None

    @property
    def url(self) -> str:
        return ";".join(node.url for node in self._nodes)

    @property
    def whole(self) -> bool:
        """All nodes are known to be there now. Not so, too, while they are asked."""
        return bool(self._seen())

    def kill(self, pick: int) -> KilledNode | None:
        """SIGKILL of the leader of the queue for an even number, else of one of the others. :return: None if not now."""
        leader = self._seen().get(self._queue, Quorum()).leader
        if not leader:
            return None
        candidates = [node for node in self._nodes if (node.name == leader) != bool(pick % 2)]
        self._down = victim = candidates[pick // 2 % len(candidates)]
        part = FOLLOWER if pick % 2 else LEADER
        killed = KilledNode(f"broker:{self._nodes.index(victim)}:{part}", victim.pid)
        victim.kill()
        return killed

    def start_again(self) -> None:
        """Start the one that was killed; it is back when all are there."""
        assert self._down is not None
        self._down.launch()
        self._down = self._asked = None

    def stop(self) -> None:
        self._asking.shutdown()

    def _seen(self) -> Mapping[str, Quorum]:
        """The quorum queues as the nodes have them, if every node is in each of them. Else, or while it is not known: nothing."""
        if self._down is not None:
            return {}
        if self._asked is None:
            self._asked = self._asking.submit(self._ask)
        if not self._asked.done():
            return {}
        found, self._asked = self._asked.result(), None
        return found if all(queue.online == len(self._nodes) for queue in found.values()) else {}

    def _ask(self) -> Mapping[str, Quorum]:
        """What every node says: one that has just come may not know the others yet. The least of it counts.

        :raises AssertionError: the process of one has ended.
        """
        try:
            told = [node.quorums() for node in self._nodes]
        except requests.RequestException:
            for node in self._nodes:
                node.check_alive()
            return {}
        names = set[str]().union(*told)
        return {name: min((one.get(name, Quorum()) for one in told), key=lambda queue: queue.online) for name in names}
