"""The clients of a run: they submit and cancel at the planned moments, and write down what they were told before they go on."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from pipeline_jobs.exceptions import IdTaken, StoreUnavailable, TryLater, UnknownJob
from pipeline_jobs.job import Job, NewJob
from pipeline_jobs.jobs.client import Client
from tests.chaos.journal import ClientJournal
from tests.chaos.plan import PlannedJob

#: Answers of 5xx that the API declares; any other is a bug.
DECLARED_503 = {"store_unavailable", "queue_full", "store_full", "id_taken", "busy"}
#: How long a client goes on trying, in seconds, and between two tries.
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 0.2
#: Threads that submit and cancel. One that waits for an earlier job's end or its removal keeps no other job from being submitted.
HTTP_THREADS, CORE_THREADS, LATE_THREADS, CANCEL_THREADS = 3, 3, 4, 2
#: Between a job's end and its removal, in seconds: who listens shall have heard the end of the first job of an id before there is a second.
LINGER_SECONDS = 0.5


@dataclass(slots=True)
class Told:
    """What the clients met, beside the journal."""

    #: HTTP answers by status, and tries that got no answer (the API was being killed).
    http: Counter[str] = field(default_factory=Counter)
    #: Answers that the API does not declare.
    undeclared: list[str] = field(default_factory=list)
    #: Submits in process that were refused because the store was away or full.
    refused: Counter[str] = field(default_factory=Counter)
    #: Jobs that nobody accepted for as long as their client tried.
    given_up: list[str] = field(default_factory=list)
    #: Cancels that got no answer for as long as their client tried: nothing is known of them.
    unanswered_cancels: int = 0


class Load:
    """Threads that submit and cancel. `start`, then `join` when the planned time has passed."""

    def __init__(self, jobs: tuple[PlannedJob, ...], client: Client, api: str, journal: ClientJournal) -> None:
        self._client, self._api, self._journal = client, api, journal
        self.told = Told()
        self._lock = threading.Lock()
        self._began = 0.0
        #: Ids of what was accepted, by token.
        self._accepted: dict[str, str] = {}
        #: Cancels to come: (seconds after the start, id, job).
        self._cancels: list[tuple[float, str, PlannedJob]] = []
        self._submitted = threading.Event()
        self._given_up = threading.Event()
        #: How long a job may wait for its turn behind all others, in seconds.
        self._turn = max([PATIENCE_SECONDS, *(job.at for job in jobs)])
        late = [job for job in jobs if job.after or job.depends_on]
        over_http = [job for job in jobs if job.http and not job.depends_on]
        in_core = [job for job in jobs if not job.http and not job.depends_on and not job.after]
        dealt = {"http": (over_http, HTTP_THREADS), "core": (in_core, CORE_THREADS), "late": (late, LATE_THREADS)}
        self._submitters = [
            threading.Thread(target=self._submit_all, args=(part,), name=f"submit-{kind}-{number}", daemon=True)
            for kind, (jobs_of_kind, threads) in dealt.items()
            for number, part in enumerate(_deal(jobs_of_kind, threads))
        ]
        self._cancellers = [threading.Thread(target=self._cancel_all, name=f"cancel-{n}", daemon=True) for n in range(CANCEL_THREADS)]

    def start(self) -> None:
        self._began = time.monotonic()
        for thread in (*self._submitters, *self._cancellers):
            thread.start()

    @property
    def submitting(self) -> bool:
        return any(thread.is_alive() for thread in self._submitters)

    def give_up(self) -> None:
        """No more tries: what is not accepted yet will not be."""
        self._given_up.set()

    def join(self) -> None:
        """Until every planned job was accepted or given up and every cancel answered."""
        for thread in self._submitters:
            thread.join()
        self._submitted.set()
        for thread in self._cancellers:
            thread.join()

    # -- submit

    def _submit_all(self, jobs: list[PlannedJob]) -> None:
        with requests.Session() as session:
            for job in jobs:
                self._wait_until(job.at)
                job_id = self._until_accepted(job, session) if self._may_come(job) else None
                if job_id is None:
                    self.told.given_up.append(job.token)
                    continue
                self._journal.write("accepted", job_id=job_id, token=job.token, http=job.http)
                self._accepted[job.token] = job_id
                if job.keyed and (again := self._until_accepted(job, session)) is not None:
                    self._journal.write("again", job_id=again, token=job.token)
                if job.cancel_after is not None:
                    with self._lock:
                        heapq.heappush(self._cancels, (time.monotonic() - self._began + job.cancel_after, job_id, job))

    def _until_accepted(self, job: PlannedJob, session: requests.Session) -> str | None:
        for _ in self._tries():
            job_id = self._submit_http(job, session) if job.http else self._submit_core(job)
            if job_id is not None:
                return job_id
        return None

    def _submit_core(self, job: PlannedJob) -> str | None:
        key = {"idempotency_key": job.token} if job.keyed else {}
        try:
            return self._client.submit(NewJob.of(self._fields(job)), job_id=job.job_id, **key).job_id
        except (StoreUnavailable, TryLater) as error:
            with self._lock:
                self.told.refused[error.code] += 1
            return None
        except IdTaken:
            # By this one, the answer to whose last submit was lost; else the next try meets it again.
            return job.job_id if self._is(job.job_id or "", job.token) else None

    def _is(self, job_id: str, token: str) -> bool:
        try:
            return bool(self._client.get(job_id).params["token"] == token)
        except (StoreUnavailable, UnknownJob):
            return False

    def _submit_http(self, job: PlannedJob, session: requests.Session) -> str | None:
        headers = {"Idempotency-Key": job.token} if job.keyed else {}
        answer = self._post(session, "/pipeline/jobs", self._fields(job), headers)
        return answer["job_id"] if answer is not None else None

    def _fields(self, job: PlannedJob) -> dict[str, Any]:
        if job.depends_on is None:
            return fields_of(job)
        return {
            **fields_of(job),
            "depends_on": [self._accepted[job.depends_on]],
            "on_dependency_failure": job.on_dependency_failure,
        }

    # -- after other jobs

    def _may_come(self, job: PlannedJob) -> bool:
        """Wait until the job that it depends on was accepted, or until the one that had its id has gone. :return: whether it did."""
        if job.after is not None:
            return self._when_accepted(job.after) and self._until_removed(job.job_id or "")
        return job.depends_on is None or self._when_accepted(job.depends_on)

    def _when_accepted(self, token: str) -> bool:
        return any(token in self._accepted for _ in self._tries(self._turn))

    def _until_removed(self, job_id: str) -> bool:
        """Remove a job when it has ended, and write down what it was: its counters outlive it."""
        last: Job | None = None
        for _ in self._tries(self._turn):
            try:
                last = self._client.get(job_id)
                if last.ended:
                    time.sleep(LINGER_SECONDS)
                    self._client.delete(job_id)
                    break
            except StoreUnavailable:
                continue
            except UnknownJob:
                # The answer to its removal was lost.
                break
        if last is None or not last.ended:
            return False
        was = {"tenant_id": last.tenant_id, "workspace_id": last.workspace_id, "status": last.status.value, "crashes": last.crashes}
        self._journal.write("removed", job_id=job_id, **was)
        return True

    # -- cancel

    def _cancel_all(self) -> None:
        with requests.Session() as session:
            while True:
                with self._lock:
                    first = self._cancels[0] if self._cancels else None
                    due = first is not None and first[0] <= time.monotonic() - self._began
                    if due:
                        heapq.heappop(self._cancels)
                if first is None and self._submitted.is_set():
                    return
                if first is None or not due:
                    time.sleep(0.02)
                    continue
                self._cancel(first[1], first[2].cancel_over_http, session)

    def _cancel(self, job_id: str, http: bool, session: requests.Session) -> None:
        for _ in self._tries():
            told = self._cancel_http(job_id, session) if http else self._cancel_core(job_id)
            if told is not None:
                self._journal.write("cancel", job_id=job_id, status=told[0], requested=told[1])
                return
        with self._lock:
            self.told.unanswered_cancels += 1

    def _cancel_core(self, job_id: str) -> tuple[str, bool] | None:
        try:
            job = self._client.cancel(job_id)
        except StoreUnavailable:
            return None
        except UnknownJob:
            return "unknown", False
        return job.status.value, job.cancel_requested

    def _cancel_http(self, job_id: str, session: requests.Session) -> tuple[str, bool] | None:
        answer = self._post(session, f"/pipeline/jobs/{job_id}/cancel", None, {})
        return None if answer is None else (answer["status"], answer["cancel_requested"])

    # -- HTTP

    def _post(self, session: requests.Session, path: str, body: Any, headers: Mapping[str, str]) -> Any | None:
        """The answer's body, or None: try again. An answer that is not declared is noted."""
        try:
            response = session.post(self._api + path, json=body, headers=headers, timeout=30)
        except requests.RequestException as error:
            with self._lock:
                self.told.http[type(error).__name__] += 1
            return None
        with self._lock:
            self.told.http[str(response.status_code)] += 1
        if response.ok:
            return response.json()
        if not _declared(response):
            with self._lock:
                self.told.undeclared.append(f"{response.status_code} {response.text[:300]}")
        return None

    def _tries(self, seconds: float = PATIENCE_SECONDS) -> Iterator[None]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._given_up.is_set():
            yield
            time.sleep(PAUSE_SECONDS)

    def _wait_until(self, moment: float) -> None:
        left = self._began + moment - time.monotonic()
        if left > 0:
            time.sleep(left)


def fields_of(job: PlannedJob) -> dict[str, Any]:
    """The fields of a new job, but for what it waits for."""
    return {
        "pipeline": job.pipeline,
        "params": dict(job.params),
        "tenant_id": job.tenant_id,
        "workspace_id": job.workspace_id,
        "priority": job.priority,
    }


def _declared(response: requests.Response) -> bool:
    """429, or a 503 that says why in our words and when to come again."""
    if response.status_code not in (429, 503) or response.headers.get("Content-Type") != "application/problem+json":
        return False
    return response.json()["code"] in DECLARED_503 and "Retry-After" in response.headers


def _deal(jobs: list[PlannedJob], hands: int) -> list[list[PlannedJob]]:
    return [jobs[hand::hands] for hand in range(hands)]
