"""The faults of a plan, done to the running system at their moments; each leaves a line in a log."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import redis

from tests.chaos.brokers import Brokers, KilledNode
from tests.chaos.clock import Clock
from tests.chaos.plan import Fault
from tests.chaos.processes import Incarnation, Processes, Seen, send
from tests.chaos.proxy import Link, Proxies, Way
from tests.chaos.small_disk import SmallDisk
from tests.servers import Server

T = TypeVar("T")

#: Faults that are a SIGKILL, by what the bar counts them as.
KILLS = {
    "kill_worker": "workers and children",
    "kill_child": "workers and children",
    "kill_api": "API, beat, maintenance",
    "kill_beat": "API, beat, maintenance",
    "kill_maintenance": "API, beat, maintenance",
    "kill_server": "server",
    "kill_broker": "nodes of the broker",
}


#: Faults that keep everybody, or the process that they are done to, from the store.
SERVER_AWAY = {"kill_server", "pause_server"}
CUT_OFF = {"net_delay", "net_drop", "net_half_close", "stop_worker", "stop_tree"}
#: How long a call that lost its answer waits, or a server takes to load its file again, in seconds.
WAITED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Done:
    """A fault that was done."""

    at: float
    kind: str
    #: Mark of the process, if it was one.
    mark: str | None = None
    pid: int | None = None
    #: How long; of a step of the clock, how far it is ahead from then on.
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Around:
    """What is about the processes, for the faults that are done to it."""

    clock: Clock
    proxies: Proxies
    disk: SmallDisk
    #: The worker whose working folders are on that disk.
    on_disk: str
    #: The nodes of Celery's broker, if it is several.
    brokers: Brokers | None = None


class Faults:
    """Does the faults; call `tick` often, from the thread that owns the processes."""

    def __init__(
        self,
        faults: Sequence[Fault],
        processes: Processes,
        server: Server,
        log: Callable[[str], None],
        around: Around | None = None,
    ) -> None:
        """:param around: None: no fault of the plan is of the clock, the network or a disk."""
        self._waiting = list(faults)
        self._processes, self._server, self._log, self._around = processes, server, log, around
        self.done: list[Done] = []
        #: When the server was down or paused: `(from, to)` in Unix seconds.
        self.away: list[tuple[float, float]] = []
        #: What to do later: (Unix seconds, what).
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._rolling: list[str] = []
        self._server_down = False
        self._node_away = False
        self._disk_full = False
        #: Children that were killed, by mark and pid: on a busy machine they are still there a while later.
        self._dying: set[tuple[str, int]] = set()
        #: Roles whose network is disturbed.
        self._disturbed: set[str] = set()

    @property
    def idle(self) -> bool:
        """Nothing is to be done any more, and nothing is stopped or down."""
        return not self._waiting and not self._later and not self._rolling and not self._node_away

    def counts(self) -> Counter[str]:
        return Counter(done.kind for done in self.done)

    def tick(self, now: float) -> None:
        """:param now: seconds after the start of the load."""
        due = [one for one in self._later if one[0] <= time.time()]
        self._later = [one for one in self._later if one not in due]
        for _, action in due:
            action()
        self._roll()
        self._node_away = self._node_away and not self._brokers.whole
        for fault in [fault for fault in self._waiting if fault.at <= now]:
            # A fault without a victim (all of them are starting) waits for one.
            if getattr(self, f"_{fault.kind}")(fault):
                self._waiting.remove(fault)

    def _note(self, fault: Fault, victim: Incarnation | Seen | KilledNode | None = None, seconds: float = 0.0) -> bool:
        done = Done(time.time(), fault.kind, victim.mark if victim else None, victim.pid if victim else None, seconds)
        self.done.append(done)
        self._log(f"{done.at:.3f} {done.kind} {done.mark or ''} {done.pid or ''} {done.seconds:.2f}")
        return True

    # -- SIGKILL

    def _kill(self, fault: Fault, kind: str) -> bool:
        victim = _pick(self._processes.up(kind), fault)
        if victim is None:
            return False
        self._processes.kill(victim)
        return self._note(fault, victim)

    def _kill_worker(self, fault: Fault) -> bool:
        return self._kill(fault, "worker")

    def _kill_beat(self, fault: Fault) -> bool:
        return self._kill(fault, "beat")

    def _kill_maintenance(self, fault: Fault) -> bool:
        return self._kill(fault, "maintenance")

    def _kill_api(self, fault: Fault) -> bool:
        """Its master, or one of its worker processes, which the master replaces."""
        if fault.pick % 2:
            return self._kill(fault, "api")
        return self._kill_one_child(fault, "api")

    def _kill_child(self, fault: Fault) -> bool:
        return self._kill_one_child(fault, "worker")

    def _kill_one_child(self, fault: Fault, kind: str) -> bool:
        child = self._child(fault, kind)
        if child is None or not send(child, signal.SIGKILL):
            return False
        self._dying.add((child.mark, child.pid))
        return self._note(fault, child)

    def _child(self, fault: Fault, kind: str) -> Seen | None:
        children = [child for one in self._processes.up(kind) for child in self._processes.children(one)]
        return _pick([child for child in children if (child.mark, child.pid) not in self._dying], fault)

    # -- SIGSTOP, and SIGCONT later

    def _stop_worker(self, fault: Fault) -> bool:
        """Its main process only: leases are not renewed, while its children work on."""
        return self._stop(fault, "worker", tree=False)

    def _stop_tree(self, fault: Fault) -> bool:
        """With its children, as when a virtual machine is paused."""
        return self._stop(fault, "worker", tree=True)

    def _stop_maintenance(self, fault: Fault) -> bool:
        return self._stop(fault, "maintenance", tree=True)

    def _stop(self, fault: Fault, kind: str, *, tree: bool) -> bool:
        victim = _pick(self._processes.up(kind), fault)
        if victim is None:
            return False
        stopped = [seen for seen in self._processes.tree(victim) if tree or seen.pid == victim.pid]
        self._pause(stopped, fault.seconds)
        return self._note(fault, victim, fault.seconds)

    def _stop_child(self, fault: Fault) -> bool:
        child = self._child(fault, "worker")
        if child is None:
            return False
        self._pause([child], fault.seconds)
        return self._note(fault, child, fault.seconds)

    def _pause(self, stopped: Sequence[Seen], seconds: float) -> None:
        for seen in stopped:
            send(seen, signal.SIGSTOP)
        self._after(seconds, lambda: [send(seen, signal.SIGCONT) for seen in stopped])

    # -- SIGTERM

    def _term_worker(self, fault: Fault) -> bool:
        victim = _pick(self._processes.up("worker"), fault)
        if victim is None:
            return False
        self._processes.term(victim)
        return self._note(fault, victim)

    def _roll_workers(self, fault: Fault) -> bool:
        """A rolling restart: each worker in turn, when the one before is back."""
        if self._rolling:
            return False
        self._rolling = [name for name, role in self._processes.roles.items() if role.kind == "worker"]
        return self._note(fault)

    def _roll(self) -> None:
        if self._rolling and len(self._processes.up("worker")) == sum(role.kind == "worker" for role in self._processes.roles.values()):
            self._processes.term(self._processes.current[self._rolling.pop(0)])

    # -- the server and its connections

    def _kill_server(self, fault: Fault) -> bool:
        """SIGKILL, and a start on its AOF after a while."""
        if self._server_down:
            return False
        self._server_down = True
        self._server.kill()
        down = time.time()
        self._note(fault, seconds=fault.seconds)

        def start() -> None:
            self._server.start()
            self._server_down = False
            self.away.append((down, time.time()))

        self._after(fault.seconds, start)
        return True

    def _drop_clients(self, fault: Fault) -> bool:
        """CLIENT KILL of about half of all connections."""
        if self._server_down:
            return False
        rng = random.Random(fault.pick)
        with self._server.client() as client:
            me = client.client_id()
            for connection in client.client_list():
                if int(connection["id"]) != me and rng.random() < 0.5:
                    try:
                        client.client_kill_filter(_id=connection["id"])
                    except redis.ResponseError:
                        pass  # it went by itself
        return self._note(fault)

    def _pause_server(self, fault: Fault) -> bool:
        """SIGSTOP, and SIGCONT when every lease has ended: connections stand, and nobody is answered."""
        if self._server_down:
            return False
        self._server_down = True
        self._server.pause()
        begin = time.time()
        self._note(fault, seconds=fault.seconds)

        def resume() -> None:
            self._server.resume()
            self._server_down = False
            self.away.append((begin, time.time()))

        self._after(fault.seconds, resume)
        return True

    # -- the nodes of the broker

    @property
    def _brokers(self) -> Brokers:
        assert self._surroundings.brokers is not None
        return self._surroundings.brokers

    def _kill_broker(self, fault: Fault) -> bool:
        """SIGKILL of a node, and its start after a while. Another one waits until it is back in every queue."""
        node = None if self._node_away else self._brokers.kill(fault.pick)
        if node is None:
            return False
        self._node_away = True
        self._after(fault.seconds, self._brokers.start_again)
        return self._note(fault, node, fault.seconds)

    # -- the clock, the network, a disk

    @property
    def _surroundings(self) -> Around:
        assert self._around is not None
        return self._around

    def _clock_step(self, fault: Fault) -> bool:
        self._surroundings.clock.step_to(fault.seconds)
        return self._note(fault, seconds=fault.seconds)

    def _net_delay(self, fault: Fault) -> bool:
        """Each piece between one process and the servers, both ways, comes later by up to half a second."""
        late = 0.02 + fault.pick % 100 / 200
        return self._disturb(fault, lambda link, way: setattr(link, "delay", late))

    def _net_drop(self, fault: Fault) -> bool:
        """What goes one way is lost, on connections that there are and on new ones."""
        return self._disturb(fault, lambda link, way: setattr(link, "lost", way))

    def _net_half_close(self, fault: Fault) -> bool:
        """One way of each connection is closed; the other one goes on."""
        return self._disturb(fault, lambda link, way: link.half_close(way))

    def _disturb(self, fault: Fault, how: Callable[[Link, Way], object]) -> bool:
        proxies = self._surroundings.proxies
        there = [one for role in proxies.links for one in (self._processes.current[role],) if one.alive and one.ready is not None]
        victim = _pick([one for one in there if one.role.name not in self._disturbed], fault)
        if victim is None:
            return False
        role: str = victim.role.name
        way: Way = "up" if fault.pick // 7 % 2 else "down"
        self._disturbed.add(role)
        proxies.each(role, lambda link: how(link, way))

        def mend() -> None:
            proxies.each(role, Link.mend)
            self._disturbed.discard(role)

        self._after(fault.seconds, mend)
        return self._note(fault, victim, fault.seconds)

    def _fill_disk(self, fault: Fault) -> bool:
        """The disk of one worker's working folders is full."""
        victim = self._processes.current[self._surroundings.on_disk]
        if self._disk_full or not victim.alive:
            return False
        self._disk_full = True
        self._surroundings.disk.fill()

        def empty() -> None:
            self._surroundings.disk.empty()
            self._disk_full = False

        self._after(fault.seconds, empty)
        return self._note(fault, victim, fault.seconds)

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        self._later.append((time.time() + seconds, action))


def out_of_reach(done: Sequence[Done], mark: str, termed: float, ended: float) -> bool:
    """Whether something kept a process from the store between the order to end and its end, or so shortly before that it still waited."""
    role = mark.rpartition(":")[0]
    hit = [fault for fault in done if fault.kind in SERVER_AWAY or (fault.kind in CUT_OFF and (fault.mark or "").startswith(f"{role}:"))]
    return any(fault.at <= ended and fault.at + fault.seconds >= termed - WAITED_SECONDS for fault in hit)


def _pick(candidates: Sequence[T], fault: Fault) -> T | None:
    return candidates[fault.pick % len(candidates)] if candidates else None
