"""The webhook bar: messages to receivers that fail in every way, beside a tenant whose receiver is dead and tenants whose receivers are
well, while the senders are killed. The receivers' own journal is the oracle.
"""

from __future__ import annotations

import base64
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import sha256

import psutil
from standardwebhooks.webhooks import hmac_data

from pipeline_jobs.job import NewJob
from pipeline_jobs.states import JobStatus
from pipeline_jobs.store.store import ClaimRefused
from pipeline_jobs.webhooks.ledger import Delivery
from tests.heavy.figures import quantiles
from tests.receiver import Answer, Hit, Receiver
from tests.stack import Stack
from tests.waiting import until

#: What the failing receivers do with a request, in per cent; else they take it. A message's later requests are all taken, so that none is
#: lost by bad luck alone.
FAILS: tuple[tuple[int, Answer], ...] = ((30, 500), (10, "hang"), (5, (429, {"Retry-After": "1"})), (5, "reset"))
FAILING_REQUESTS = 4
#: Per cent of the messages that are answered 410.
GONE = 1


@dataclass(slots=True)
class WebhookFigures:
    """What a run gave."""

    seed: int
    messages: int = 0
    kills: int = 0
    seconds: float = 0.0
    requests: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    gone: int = 0
    dead_tenants_messages: int = 0
    #: Messages that a receiver took and was sent again all the same.
    taken_twice: int = 0
    #: Seconds from a job's end to its message's first request, of the tenants whose receivers are well; and of the others but the dead one.
    well: dict[str, float] = field(default_factory=dict)
    failing: dict[str, float] = field(default_factory=dict)
    signatures: int = 0
    #: What must be empty.
    wrong: list[str] = field(default_factory=list)


def roll(*parts: object) -> float:
    """0..100, the same for the same parts."""
    return int.from_bytes(sha256("|".join(map(str, parts)).encode()).digest()[:6], "big") / 2**48 * 100


class Failing:
    """How the failing receivers answer."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._requests: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, hit: Hit) -> Answer:
        with self._lock:
            self._requests[hit.message_id] += 1
            number = self._requests[hit.message_id]
        if roll(self._seed, hit.message_id, "gone") < GONE:
            return 410
        drawn = roll(self._seed, hit.message_id, number)
        for share, answer in FAILS if number <= FAILING_REQUESTS else ():
            if drawn < share:
                return answer
            drawn -= share
        return 200


class Senders:
    """Maintenance workers and beat, and the killing of them."""

    def __init__(self, stack: Stack, count: int) -> None:
        self._stack = stack
        self._workers = [self._start(number) for number in range(count)]
        stack.run("beat", sys.executable, "-m", "celery", "-A", "celery_app", "beat", f"--schedule={stack.folder}/schedule", "--pidfile=")

    def kill(self, chance: random.Random, whole: bool) -> bool:
        """Kill a pool child that sends, or a whole worker, which is started again. :return: False: there is nobody to kill just now."""
        number = chance.randrange(len(self._workers))
        worker = self._workers[number]
        if whole:
            for process in [worker, *self._children(worker)]:
                process.send_signal(signal.SIGKILL)
            worker.wait()
            self._workers[number] = self._start(number)
            return True
        children = self._children(worker)
        for child in children:
            child.kill()
        return bool(children)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        command = ("-m", "celery", "-A", "celery_app", "worker", "-n", f"m{number}@test", "-Q", "maintenance", "-c", "1", "--loglevel=INFO")
        return self._stack.run(f"m{number}", sys.executable, *command, "--without-mingle")

    def _children(self, worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
        try:
            children: list[psutil.Process] = psutil.Process(worker.pid).children()
            return children
        except psutil.NoSuchProcess:
            return []


class Run:
    """One run: makes jobs end, kills senders, waits, and looks."""

    def __init__(self, stack: Stack, seed: int, failing: Receiver, dead: Receiver, well: Receiver) -> None:
        self.stack, self.chance = stack, random.Random(seed)
        self.failing, self.dead, self.well = failing, dead, well
        self.endpoints = stack.app.cell.webhooks.endpoints
        self.ledger = stack.app.cell.webhooks.ledger
        #: By job: when it ended (this machine's clock), and its tenant.
        self.ended: dict[str, tuple[float, str]] = {}
        #: By tenant.
        self.secrets: dict[str, str] = {}

    def prepare(self, failing_tenants: int, well_tenants: int) -> None:
        """Tenants with failing receivers name them in their jobs; the others have an endpoint."""
        self.stack.client.store.announce("pretended", 1000, [])
        for number in range(failing_tenants):
            self._by_job(f"failing{number}")
        self._by_job("dead")
        for number in range(well_tenants):
            _, self.secrets[f"well{number}"] = self.endpoints.create(f"well{number}", self.well.url())

    def _by_job(self, tenant: str) -> None:
        self.secrets[tenant] = self.stack.app.cell.webhooks.signer.reveal(self.endpoints.tenant_secret(tenant).current)

    def end(self, tenant: str) -> None:
        """A job of this tenant comes to its end."""
        url = {"f": self.failing.url(), "d": self.dead.url()}.get(tenant[0])
        new = NewJob(pipeline="sleep", tenant_id=tenant, webhook={"url": url} if url else None)
        client, store = self.stack.client, self.stack.client.store
        job = client.submit(new)
        claimed = store.claim(job.job_id, job.fence, worker="pretended", run="run")
        assert not isinstance(claimed, ClaimRefused), claimed
        self.ended[job.job_id] = (time.time(), tenant)
        store.finish(job.job_id, job.fence, JobStatus.COMPLETED, result={"success": True, "data": {"job": job.job_id}})

    def rows(self, tenant: str) -> list[Delivery]:
        found: list[Delivery] = []
        cursor = None
        while True:
            page = self.ledger.list(tenant, None, cursor, 500)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found


def run_webhooks(
    stack: Stack, *, messages: int, to_dead: int, to_well: int, kills: int, seed: int, rate: float, tenants: int = 20, senders: int = 2
) -> tuple[WebhookFigures, list[tuple[str, Hit]]]:
    """:param messages: to failing receivers. :param rate: jobs that end a second. :param kills: of senders, spread over the whole time.

    :return: the figures, and every request that was made with the secret by which it is signed.
    """
    figures = WebhookFigures(seed, messages=messages + to_dead + to_well + 1, dead_tenants_messages=to_dead)
    with Receiver(Failing(seed)) as failing, Receiver(lambda hit: "hang") as dead, Receiver() as well:
        run = Run(stack, seed, failing, dead, well)
        run.prepare(tenants, tenants // 2)
        gang = Senders(stack, senders)
        until(lambda: _sends(run, well), "the first webhook", 120)
        plan = (
            [f"failing{n % tenants}" for n in range(messages)] + ["dead"] * to_dead + [f"well{n % (tenants // 2)}" for n in range(to_well)]
        )
        run.chance.shuffle(plan)
        started = time.monotonic()
        killer = _Killer(gang, random.Random(seed), kills, len(plan) / rate)
        killer.start()
        for number, tenant in enumerate(plan):
            # Paced: what is measured is the sending, not how fast jobs can be made to end.
            killer.pause(started + number / rate - time.monotonic())
            run.end(tenant)
        killer.join()
        figures.kills = killer.killed
        _until_settled(run)
        figures.seconds = round(time.monotonic() - started, 1)
        return figures, _judge(run, figures)


def _sends(run: Run, well: Receiver) -> bool:
    """One message went through: somebody sends."""
    if not run.ended:
        run.end("well0")
    return bool(well.hits)


class _Killer(threading.Thread):
    def __init__(self, gang: Senders, chance: random.Random, kills: int, seconds: float) -> None:
        super().__init__(daemon=True)
        self._gang, self._chance, self._kills, self._each = gang, chance, kills, seconds / max(1, kills)
        self._never = threading.Event()
        self.killed = 0

    def pause(self, seconds: float) -> None:
        if seconds > 0:
            self._never.wait(seconds)

    def run(self) -> None:
        while self.killed < self._kills:
            self.pause(self._each * (0.5 + self._chance.random()) * 0.95)
            # Every tenth kill takes a whole worker.
            if self._gang.kill(self._chance, whole=self.killed % 10 == 9):
                self.killed += 1


def _until_settled(run: Run) -> None:
    client, keys = run.stack.client.store.client, run.stack.client.store.keys
    names = [name for name in run.secrets if name != "dead"]

    def pending() -> int:
        return sum(int(client.zcard(keys("deliveries_in", name, "pending"))) for name in names)

    until(lambda: pending() == 0, "every message of the living to be settled", 1200)


def _judge(run: Run, figures: WebhookFigures) -> list[tuple[str, Hit]]:
    hits: dict[str, list[Hit]] = defaultdict(list)
    for receiver in (run.failing, run.dead, run.well):
        for hit in receiver.hits:
            hits[hit.message_id].append(hit)
    figures.requests = sum(map(len, hits.values()))
    figures.answers = dict(
        Counter(str(hit.answer if not isinstance(hit.answer, tuple) else hit.answer[0]) for one in hits.values() for hit in one)
    )
    well: list[float] = []
    failing: list[float] = []
    signed_hits: list[tuple[str, Hit]] = []
    for tenant, secret in run.secrets.items():
        rows = run.rows(tenant)
        jobs = [job_id for job_id, (_, whose) in run.ended.items() if whose == tenant]
        if sorted(row.subject for row in rows) != sorted(jobs):
            figures.wrong.append(f"{tenant}: {len(rows)} rows for {len(jobs)} ended jobs")
        for row in rows:
            mine = sorted(hits.get(row.delivery_id, []), key=lambda hit: hit.at)
            taken = sum(hit.answer == 200 for hit in mine)
            figures.taken_twice += taken > 1
            if mine and tenant != "dead":
                (well if tenant.startswith("well") else failing).append(mine[0].at - run.ended[row.subject][0])
            figures.delivered += row.status == "delivered"
            figures.gone += row.error == "http_410"
            figures.wrong += _faults(tenant, row, mine, taken)
            signed_hits += [(secret, hit) for hit in mine]
            if not all(signed(secret, hit) for hit in mine):
                figures.wrong.append(f"{row.delivery_id}: a wrong signature")
    figures.signatures = len(signed_hits)
    figures.well, figures.failing = _latency(well), _latency(failing)
    return signed_hits


def _faults(tenant: str, row: Delivery, mine: list[Hit], taken: int) -> list[str]:
    """What is not as promised with one message."""
    if tenant == "dead":
        return [f"{row.delivery_id} of the dead tenant is {row.status}"] if row.status == "delivered" else []
    if row.error == "http_410":
        return [] if any(hit.answer == 410 for hit in mine) else [f"{row.delivery_id} is gone and nobody said so"]
    if row.status != "delivered" or not taken:
        return [f"{row.delivery_id} of {tenant} is {row.status} ({row.error}), taken {taken} times of {len(mine)}"]
    return [] if len({hit.body for hit in mine}) == 1 else [f"{row.delivery_id}: its body changed"]


def _latency(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {**quantiles(values), "p95": round(ordered[int(len(ordered) * 0.95)], 3)} if ordered else {"n": 0}


def signed(secret: str, hit: Hit) -> bool:
    """By the specification, not by our code; the library would refuse what is older than five minutes by the end of a run."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{hit.message_id}.{hit.headers['webhook-timestamp']}.".encode() + hit.body
    wanted = "v1," + base64.b64encode(hmac_data(key, text)).decode()
    return wanted in hit.headers["webhook-signature"].split(" ")
