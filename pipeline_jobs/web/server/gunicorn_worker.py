"""gunicorn's threaded worker, whose threads wait a moment for the next request of a kept connection, and for no client: the main thread
gathers the heads of requests and small bodies (`web/server/client_connection.py`), and a tenant or an address never holds all threads, nor
makes the others wait with heavy requests (`web/server/accounts.py`, `giving_way.py`). The processes share connections (`balance.py`).

The stock worker gives a connection back to its main thread after each answer: the poller is told, wakes up, and wakes a thread of the pool
again. Measured, that was more than half of the process's time at full load (docs/benchmarks.md). Here a thread that nobody else waits for
stays with its connection for `STAY_SECONDS`. Written against gunicorn 27: look again at every bump.
"""

from __future__ import annotations

import gc
import selectors
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog
from gunicorn import util
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER

from pipeline_jobs.settings import load_settings
from pipeline_jobs.web.access.throttle import Failures
from pipeline_jobs.web.problems import bare_code, bare_problem
from pipeline_jobs.web.server.accounts import Owners, Turns
from pipeline_jobs.web.server.balance import HESITATION_SECONDS, Served, Shares
from pipeline_jobs.web.server.body_room import BodyRoom
from pipeline_jobs.web.server.client_connection import Connection, Head
from pipeline_jobs.web.server.exchange import settle
from pipeline_jobs.web.server.giving_way import Told, Way
from pipeline_jobs.web.server.listening import Listening
from pipeline_jobs.web.server.no_request import Refused, untold, write_problem

#: How long a thread waits for the next request of its connection, in seconds, and how often it looks whether another needs a thread.
STAY_SECONDS, LOOK_SECONDS = 0.1, 0.01
#: How often clients are looked for whose time is over, how long one may take to close its end, in seconds, and what it may send meanwhile.
LOOK_FOR_LATE_SECONDS, LINGER_SECONDS, LINGER_BYTES = 0.5, 2.0, 65_536
#: How long one with too large a head is left without its answer, if there were many of its address, in seconds: it is the connections that
#: are few, and reading 32 KiB again and again that costs.
REFUSAL_SECONDS = 1.0
#: How long a request that waits for its client counts as at work all the same, and any other one, in seconds: it rather waits for
#: something, too. Not sooner: where all take long because there are too many at once, more would make it worse.
AT_WORK_SECONDS, MOST_AT_WORK_SECONDS = 0.5, 5.0
#: How often it is looked whether one counts no more, or has paid, while others wait for its place, in seconds.
LOOK_FOR_TURN_SECONDS = 0.02

logger = structlog.get_logger("pipeline_jobs.web")
_settings = load_settings()
#: gunicorn's master imports this before it forks.
_SHARES, _SERVED, _TOLD = Shares(), Served(), Told()


class Worker(Listening):
    """`worker_class`. Of the methods, `handle`, `handle_request` and `_another` run in the pool's threads, all others in the main one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Of an address: its connections. Of a tenant or an address, and in all: those that have a thread. Of one: at work, and waiting.
        self._held: Counter[str] = Counter()
        self._served: Counter[str] = Counter()
        self._busy = 0
        self._at_work: Counter[str] = Counter()
        self._parked: defaultdict[str, deque[Connection]] = defaultdict(deque)
        #: When each dispatched connection is looked at whether it counts as at work, in order.
        self._working: deque[tuple[float, Connection, int]] = deque()
        self._turns, self._owners, self._oversized = Turns(_SERVED), Owners(), Failures()
        self._way = Way(_TOLD, self.age, lambda group: len(self._parked.get(group, ())))
        # Of a tenant or an address: those whose small body comes, the oldest first, and those that wait for room for theirs.
        self._sending: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._roomless: defaultdict[str, deque[tuple[Connection, int]]] = defaultdict(deque)
        self._room = BodyRoom(_settings.max_body_bytes)
        self._next_look = 0.0
        self._refused: Refused = untold
        # Connections come from the proxy, where there is one: it counts those of its clients.
        self._most_held = self.worker_connections if _settings.trusted_proxies else _settings.http_connections_per_address
        self._most_served = max(1, self.cfg.threads * 7 // 8)
        self._most_parked = _settings.http_connections_per_address

    def run(self) -> None:
        """What was loaded stays: the garbage collector need not look at it again. Each full look took 0.2 s, in which nobody is served."""
        settle(self.cfg)
        gc.collect()
        gc.freeze()
        super().run()

    def tell_refused(self, refused: Refused) -> None:
        """From now on this is told of requests that are refused before they are one."""
        self._refused = refused
        util.write_error = partial(write_problem, refused=refused)

    def accept(self, listener: Any) -> None:
        """Take a new connection, unless another process that has fewer takes it now."""
        if _SHARES.has_more(self.age, self.nr_conns):
            time.sleep(HESITATION_SECONDS)
        self._take(listener)

    def _welcome(self, sock: Any, client: Any, listener: Any) -> None:
        """Its first request may have come with it."""
        _SHARES.tell(self.age, self.nr_conns)
        conn = Connection(self.cfg, sock, client, listener.getsockname(), self._closing, partial(self.method_queue.defer, self._rest))
        self._held[conn.address] += 1
        if self._held[conn.address] > self._most_held:
            self._refuse(conn, 429, "Too Many Requests")
            return
        if not self.cfg.is_ssl:
            conn.init()
        self.enqueue_req(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """A thread for a connection whose request has come, as far as whose it is may have one. Others wait without."""
        try:
            then = self._look(conn)
        except Exception:
            # What one client sends must not end the process, which has the connections of all.
            logger.exception("what a client sent cannot be read")
            then = self._drop
        then(conn)

    def _look(self, conn: Connection) -> Callable[[Connection], None]:
        """What becomes of a connection, by what its client has sent."""
        if conn.missing:
            return partial(self._go_on, is_sending=conn.gather_body())
        head = conn.gather() if conn.is_plain else Head.COMPLETE
        if head in (Head.GONE, Head.PARTIAL):
            return self._drop if head is Head.GONE else self._await_head
        if conn.is_plain and (status := conn.oversized()):
            return partial(self._refuse_head, status=status)
        conn.until = 0.0
        if conn.is_plain:
            conn.group = conn.identify(_settings.trusted_proxies, self._owners)
            if size := conn.body(_settings.max_body_bytes):
                fault = conn.fault
                # What is wrong takes no room, and nobody else's room is taken for it.
                return partial(self._await_body, size=size) if fault is None else partial(self._refuse, status=fault[0], reason=fault[1])
        return self._park

    def on_pending_socket_readable(self, conn: Connection, client: Any) -> None:
        """Not of one that was refused, for another's sake, since the poller said so."""
        if not conn.is_refused:
            super().on_pending_socket_readable(conn, client)

    def _await_body(self, conn: Connection, size: int) -> None:
        """Without a thread. There is room for all of it first: else it waits behind the others of whose it is."""
        conn.until = time.monotonic() + _settings.request_seconds
        if not self._roomless.get(conn.group) and not self._room.is_full_for(conn.group, size):
            while self._room.is_full(size) and self._sending:
                self._take_room_of(max(self._sending, key=self._room.taken))
            if not self._room.is_full(size):
                self._begin_body(conn, size)
                return
        # Nothing more is read of it, nor is it looked at before.
        conn.refusal = 408, "Request Timeout"
        self.pending_conns.append(conn)
        self._roomless[conn.group].append((conn, size))

    def _take_room_of(self, group: str) -> None:
        """Whoever has most loses the body that has been coming for longest."""
        conn = next(iter(self._sending[group]))
        conn.is_refused = True
        self.pending_conns.remove(conn)
        self.poller.unregister(conn.sock)
        self._refuse(conn, 429, "Too Many Requests")

    def _give_room(self, group: str) -> None:
        """To those of a tenant or an address that wait for it and have not given up."""
        waiting = self._roomless[group]
        while waiting:
            conn, size = waiting[0]
            if conn.refusal and (self._room.is_full_for(group, size) or self._room.is_full(size)):
                return
            waiting.popleft()
            if conn.refusal:
                conn.refusal = None
                self.pending_conns.remove(conn)
                self._begin_body(conn, size)
        del self._roomless[group]

    def _begin_body(self, conn: Connection, size: int) -> None:
        conn.room = size
        self._room.take(conn.group, size)
        self._sending[conn.group][conn] = None
        conn.invite()
        self._go_on(conn, conn.begin_body(size))

    def _go_on(self, conn: Connection, is_sending: bool) -> None:
        if is_sending:
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
            return
        conn.until = 0.0
        if fault := conn.fault:
            self._refuse(conn, *fault)
            return
        self._sends_no_more(conn)
        self._park(conn)

    def _sends_no_more(self, conn: Connection) -> None:
        self._sending[conn.group].pop(conn, None)
        if not self._sending[conn.group]:
            del self._sending[conn.group]

    def _leave_room(self, conn: Connection) -> None:
        """Its body is in a thread's hands, or nobody's."""
        if conn.room:
            self._room.give_back(conn.group, conn.room)
            conn.room = 0
            self._sends_no_more(conn)

    def _park(self, conn: Connection) -> None:
        parked = self._parked[conn.group]
        if len(parked) >= self._most_parked:
            self._refuse(conn, 429, "Too Many Requests")
            return
        parked.append(conn)
        self._serve(conn.group)

    def _serve(self, group: str) -> None:
        """Threads for those of a tenant or an address that wait, as far as it may have more."""
        parked, now = self._parked[group], time.monotonic()
        while parked and self._served[group] < self._most_served:
            if self._at_work[group] >= self._turns.most(group, now, large=parked[0].is_large):
                break
            # Its client may have left. That cannot be told from one that has only sent all that it wanted to, and the turn is its own.
            conn = parked.popleft()
            self._leave_room(conn)
            self._served[group] += 1
            self._busy += 1
            self._at_work[group] += 1
            conn.turn += 1
            conn.is_at_work, conn.since = True, now
            self._working.append((now + AT_WORK_SECONDS, conn, conn.turn))
            self._turns.note(group, now, is_known=conn.is_known)
            super().enqueue_req(conn)
        if not parked:
            del self._parked[group]

    def _rest(self, conn: Connection, turn: int) -> None:
        """A thread waits for something else than the interpreter."""
        if conn.is_at_work and conn.turn == turn:
            conn.is_at_work = False
            _less(self._at_work, conn.group)

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """A thread is free again: `wait_for_and_dispatch_events` gives it to another request."""
        if conn.cost:
            self._turns.debts.charge(conn.group, conn.cost, time.monotonic())
        if conn.learnt:
            self._turns.latest.rename(conn.group, conn.learnt)
        conn.cost, conn.learnt = 0.0, ""
        _less(self._served, conn.group)
        self._busy -= 1
        self._rest(conn, conn.turn)
        super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """End connections whose client is late, with its head or with closing its end."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_FOR_LATE_SECONDS
        self.look_for_room()
        for conn in [conn for conn in self.pending_conns if (conn.until or conn.timeout) <= now]:
            self.pending_conns.remove(conn)
            if conn.refusal:
                self._refuse(conn, *conn.refusal)
                continue
            self.poller.unregister(conn.sock)
            if conn.is_left:
                conn.end()
            elif conn.is_plain and conn.parser.unreader.buf.getvalue() and (self.alive or not conn.awaits_head):
                self._refuse(conn, 408, "Request Timeout")
            else:
                self._drop(conn)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Each turn of the main thread, once a second at least."""
        if self._parked or self._roomless:
            timeout = LOOK_FOR_TURN_SECONDS
        elif self.pending_conns:
            timeout = min(timeout, LOOK_FOR_LATE_SECONDS)
        super().wait_for_and_dispatch_events(timeout)
        now = time.monotonic()
        while self._working and self._working[0][0] <= now:
            _, conn, turn = self._working.popleft()
            if conn.turn == turn and conn.is_at_work and not conn.waits and now < conn.since + MOST_AT_WORK_SECONDS:
                self._working.append((now + AT_WORK_SECONDS, conn, turn))
            else:
                self._rest(conn, turn)
        for group in list(self._parked):
            # One of it may have ended or rest now, and it may have paid.
            self._serve(group)
        for group in list(self._roomless):
            self._give_room(group)
        _SHARES.tell(self.age, self.nr_conns)

    def handle(self, conn: Connection) -> Any:
        """Requests of a connection as long as they come one after another; then as gunicorn does."""
        while True:
            kept, seconds = self._way.served(conn, super().handle)
            if conn.is_plain:
                conn.note(seconds, self._owners)
            if kept is not True or not conn.is_plain:
                return kept
            if conn.cost or not conn.is_at_work or time.monotonic() - conn.since > MOST_AT_WORK_SECONDS / 2:
                # What was heavy is charged, and it counts as at work no longer than that: the main thread gives it another turn.
                return True
            head = self._another(conn)
            if head is not Head.AGAIN and (head is not Head.COMPLETE or conn.oversized()):
                return head is not Head.GONE
            if conn.identify(_settings.trusted_proxies, self._owners) != conn.group:
                # Another's request, behind a proxy, or the first one whose credentials are known: it takes its own turn.
                return True

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """What has not come of a body that nobody read is not waited for, by no thread: the connection ends."""
        return bool(super()._keepalive_after(conn, keepalive and not conn.owes_body()))

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """A budget for each answer."""
        conn.sock.begin()
        return super().handle_request(req, conn)

    def _another(self, conn: Connection) -> Head:
        """The connection's next request is there, or a thread that stays with it would be missed."""
        if (head := conn.head()) is not Head.PARTIAL:
            return self._with_body(conn, head)
        for _ in range(round(STAY_SECONDS / LOOK_SECONDS)):
            # A connection without a thread goes first. (One in the pool's queue may be there until a free thread has woken up.)
            if not self.alive or self._busy > self.cfg.threads or self._parked.get(conn.group):
                return Head.PARTIAL
            if conn.readable.poll(LOOK_SECONDS * 1000):
                return self._with_body(conn, conn.gather())
        return Head.PARTIAL

    def _with_body(self, conn: Connection, head: Head) -> Head:
        """Many clients send a small body in a piece of its own, right behind the head. For another one the main thread waits."""
        if head is Head.COMPLETE and not conn.oversized() and (size := conn.body(_settings.max_body_bytes)):
            conn.readable.poll(LOOK_SECONDS * 1000)
            is_sending, conn.missing = conn.begin_body(size), 0
            if is_sending or conn.fault:
                return Head.PARTIAL
        return head

    def _await_head(self, conn: Connection) -> None:
        # A worker that stops gives it as long as gunicorn gives the next request of a kept connection to begin.
        most = _settings.request_seconds if self.alive else min(_settings.request_seconds, STOP_KEEPALIVE_LINGER)
        conn.until = conn.until or time.monotonic() + most
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _refuse_head(self, conn: Connection, status: int) -> None:
        """It is too large."""
        refusal = status, "Request Header Fields Too Large" if status == 431 else "URI Too Long"
        if not self._oversized.wait(conn.address):
            self._oversized.add(conn.address)
            self._refuse(conn, *refusal)
            return
        # Nothing more is read of it, nor is it looked at before.
        conn.refusal, conn.until = refusal, time.monotonic() + REFUSAL_SECONDS
        self.pending_conns.append(conn)

    def _refuse(self, conn: Connection, status: int, reason: str) -> None:
        self._refused(status, bare_code(status))
        try:
            conn.sock.send_now(bare_problem(status, reason))
        except OSError:
            pass  # the client has left
        self.nr_conns -= 1
        conn.refusal = None
        conn.close(graceful=True)

    def _drop(self, conn: Connection) -> None:
        self.nr_conns -= 1
        conn.close()

    def _closing(self, conn: Connection, graceful: bool) -> bool:
        """A client is given time to read its answer to the end and to close (RFC 9112, section 9.6), without the main thread's waiting."""
        self._leave_room(conn)
        if graceful and conn.shut():
            conn.until = time.monotonic() + LINGER_SECONDS
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
            return True
        _less(self._held, conn.address)
        return False

    def _drain(self, conn: Connection, sock: Any) -> None:
        if not conn.drain(LINGER_BYTES):
            self.poller.unregister(sock)
            self.pending_conns.remove(conn)
            conn.end()


def _less(counts: Counter[str], name: str) -> None:
    """One less; none is forgotten."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
