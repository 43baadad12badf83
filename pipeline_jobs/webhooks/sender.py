"""Sends the deliveries that are due: a loop takes them as threads get free, and a thread sends each of them.

It runs in the processes of maintenance workers, from their start on; beat's tick sees to it. A slow receiver holds up a thread and not the
duties of that worker. A thread that waits costs little: what is limited is how many begin at once; those that wait for slow receivers are
counted apart, and are many more, so that they take nothing from the quick ones. Killed, its deliveries come again when their leases end
(`ledger.LEASE_MS`), with the same ids: at least once. Any number may run at once: the store deals out, with caps for tenants and hosts.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from structlog.contextvars import bind_contextvars

from pipeline_jobs import __version__, failpoints
from pipeline_jobs.addresses import webhook_policy
from pipeline_jobs.exceptions import KeyChanged, StoreUnavailable
from pipeline_jobs.files.copies import SCHEME, Copier
from pipeline_jobs.files.drive import DriveError
from pipeline_jobs.settings import Settings
from pipeline_jobs.tracing import correlation, spans
from pipeline_jobs.tracing.correlation import Correlation
from pipeline_jobs.webhooks.endpoints import Endpoints
from pipeline_jobs.webhooks.ledger import Ledger, Taken
from pipeline_jobs.webhooks.payload import SHAPES, Shape, body
from pipeline_jobs.webhooks.post import Answer, post
from pipeline_jobs.webhooks.retries import PAYLOAD_BROKEN, PAYLOAD_LOST, SLOW_SECONDS, verdict
from pipeline_jobs.webhooks.signing import Signer

logger = structlog.get_logger(__name__)

#: Seconds between two looks at what is due, while no thread gets free.
POLL = 0.25
#: Seconds before the next look when the store was away.
STORE_AWAY = 2.0
#: How often what came of a try is written before it is given up.
SETTLE_TRIES = 4
#: So many times as many threads as may begin at once may wait for slow receivers.
SLOW_THREADS = 4

_HEADERS = {"Content-Type": "application/json", "Accept": "*/*", "User-Agent": f"pipeline-jobs/{__version__} (webhooks)"}


@dataclass(frozen=True, slots=True)
class Flight:
    """A delivery that is being sent."""

    thread: threading.Thread
    #: To a host that is known to be slow.
    slow: bool
    since: float

    @property
    def quick(self) -> bool:
        """Its receiver is quick, as far as is known yet."""
        return not self.slow and time.monotonic() - self.since < SLOW_SECONDS


class Sender:
    """The sender of this process. One that was made before a fork starts anew in the child."""

    def __init__(
        self,
        ledger: Ledger,
        endpoints: Endpoints,
        signer: Signer,
        settings: Settings,
        shapes: Mapping[str, Shape] = SHAPES,
        copier: Copier | None = None,
    ) -> None:
        """:param copier: takes the deliveries that are no messages (`files/copies.py`)."""
        self._ledger, self._endpoints, self._signer, self._settings = ledger, endpoints, signer, settings
        self._shapes, self._copier = shapes, copier
        self._pid = -1

    def run_once(self) -> dict[str, int]:
        """See to it that the loop runs. :return: `{"sending": deliveries under way here}`"""
        if self._pid != os.getpid() or not self._thread.is_alive():
            self._start()
        self._wake.set()
        return {"sending": len(self._flights)}

    def stop(self, seconds: float) -> None:
        """Take nothing more, and wait so long for what is being sent. What is not done by then is sent again by another."""
        if self._pid != os.getpid():
            return
        self._stopping.set()
        self._wake.set()
        self._thread.join(seconds)
        deadline = time.monotonic() + seconds
        for flight in list(self._flights.values()):
            flight.thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self) -> None:
        self._stopping, self._wake = threading.Event(), threading.Event()
        #: By lease: what is being sent here.
        self._flights: dict[str, Flight] = {}
        self._thread = threading.Thread(target=self._loop, name="webhook-sender", daemon=True)
        self._thread.start()
        self._pid = os.getpid()

    def _loop(self) -> None:
        pause = POLL
        while not self._stopping.is_set():
            try:
                self._look()
                pause = POLL
            except StoreUnavailable:
                pause = STORE_AWAY
            except Exception:
                logger.exception("the webhook sender failed, and goes on")
                pause = STORE_AWAY
            self._wake.wait(pause)
            self._wake.clear()

    def _look(self) -> None:
        """Take as many as may begin, and renew the leases of the others."""
        flying = dict(self._flights)
        if not flying and not self._ledger.waits():
            return
        quick = sum(flight.quick for flight in flying.values())
        threads = self._settings.webhook_threads
        room_for_slow = max(0, SLOW_THREADS * threads - (len(flying) - quick))
        # Quick ones may turn out to be slow: then they need the room of those.
        room_for_quick = min(threads - quick, room_for_slow)
        for taken in self._ledger.take(room_for_quick, room_for_slow - room_for_quick, list(flying)):
            failpoints.reach("webhook.after_take")
            thread = threading.Thread(target=self._deliver, args=(taken,), name="webhook-delivery", daemon=True)
            self._flights[taken.lease] = Flight(thread, taken.slow, time.monotonic())
            try:
                thread.start()
            except BaseException:
                # No thread can be started now: whoever sends it when its lease ends, nobody may renew that.
                del self._flights[taken.lease]
                raise

    def _deliver(self, taken: Taken) -> None:
        try:
            answer = self._answer(taken)
            failpoints.reach("webhook.after_post")
            self._settle(taken, answer)
        except StoreUnavailable:
            logger.warning(
                "the outcome of a webhook cannot be stored, so it will be sent again", seldom=True, delivery_id=taken.delivery_id
            )
        except Exception:
            logger.exception("a webhook failed, and will be sent again", delivery_id=taken.delivery_id)
        finally:
            self._flights.pop(taken.lease, None)
            self._wake.set()

    def _answer(self, taken: Taken) -> Answer:
        """Send it. :return: what came of it; what cannot be told otherwise is a try that failed, so that none is tried for ever."""
        try:
            return self._send(taken)
        except StoreUnavailable:
            raise
        except Exception:
            logger.exception("a webhook cannot be sent", delivery_id=taken.delivery_id)
            return Answer(None, "sender_failed")

    def _body(self, snapshot: Mapping[str, str]) -> str | Answer:
        """The message's text, or why there will be none."""
        if snapshot.get("webhook_type", "").partition(".")[0] not in self._shapes:
            # A later version wrote it, and has senders that know it.
            return Answer(None, "type_unknown")
        try:
            return body(snapshot, self._settings.public_url, self._shapes)
        except Exception:
            logger.exception("the message of a webhook cannot be made", type=snapshot["webhook_type"])
            return Answer(None, PAYLOAD_BROKEN)

    def _send(self, taken: Taken) -> Answer:
        snapshot = self._ledger.snapshot(taken.event_id)
        if not snapshot:
            return Answer(None, PAYLOAD_LOST)
        # For the lines of this thread, which is this delivery's.
        bind_contextvars(tenant=taken.tenant_id, **{name: snapshot[name] for name in ("job_id", "request_id") if name in snapshot})
        if taken.url.startswith(SCHEME):
            return self._copy(taken.event_id, snapshot)
        text = self._body(snapshot)
        if isinstance(text, Answer):
            return text
        with correlation.bound(Correlation.of(snapshot)), spans.span("webhook", "client", event__type=taken.event) as span:
            answer = self._post(taken, text)
            span.set(http__response__status_code=answer.status, delivery__id=taken.delivery_id, delivery__tries=taken.tries + 1)
            if answer.error:
                span.fail(answer.error)
            return answer

    def _copy(self, event_id: str, snapshot: Mapping[str, str]) -> Answer:
        started = time.monotonic()
        try:
            if self._copier is None:
                raise DriveError("drive_not_configured")
            self._copier.deliver(event_id, snapshot)
        except DriveError as error:
            return Answer(None, error.word, seconds=time.monotonic() - started)
        return Answer(200, "", seconds=time.monotonic() - started)

    def _post(self, taken: Taken, text: str) -> Answer:
        current = taken.current or self._endpoints.tenant_secret(taken.tenant_id).current
        try:
            headers = self._signer.headers(taken.delivery_id, datetime.now(UTC), text, current, taken.old)
        except KeyChanged as error:
            return Answer(None, error.code)
        return post(
            taken.url,
            text.encode(),
            {**_HEADERS, **_of_request(), **headers},
            policy=webhook_policy(self._settings.webhook_allow_private),
            timeout=self._settings.webhook_timeout_seconds,
        )

    def _settle(self, taken: Taken, answer: Answer) -> None:
        found = verdict(answer, taken.tries + 1, self._settings.webhook_retry_table, random.random)
        attempt = {"status": answer.status, "error": answer.error or None, "seconds": round(answer.seconds, 3)}
        for left in reversed(range(SETTLE_TRIES)):
            try:
                status = self._ledger.settle(
                    taken.lease, found.outcome, attempt, error=answer.error, delay=found.delay, slow=answer.seconds >= SLOW_SECONDS,
                    url=taken.url,
                )  # fmt: skip
                break
            except StoreUnavailable:
                # A receiver that has taken it should not be sent it again because the store was away for a moment.
                if not left or self._stopping.wait(STORE_AWAY):
                    raise
        say = logger.info if answer.error == "" else logger.warning
        about = {"delivery_id": taken.delivery_id, "type": taken.event, "tenant": taken.tenant_id}
        say("webhook", **about, outcome=found.outcome, became=status, **attempt)


def _of_request() -> dict[str, str]:
    """The headers that say of which request an event came."""
    here = correlation.current()
    both = {"X-Request-ID": here.request_id, "traceparent": here.traceparent}
    return {name: value for name, value in both.items() if value is not None}
