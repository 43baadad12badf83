"""Signals: what a job may wait for (`stage.Wait`), sent by whoever may change the job, or by a signed link."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from pipeline_jobs.exceptions import InvalidInput, RequestError, UnknownJob
from pipeline_jobs.job import Job, dumps, read_signal
from pipeline_jobs.jobs.client import Client
from pipeline_jobs.records import in_order
from pipeline_jobs.stage import MAX_WAIT
from pipeline_jobs.tenants import ANYBODYS, Whose

#: Longest payload, and longest of a link, in characters of JSON.
MAX_PAYLOAD, MAX_IN_LINK = 16_384, 1_024
#: Longest link's token, in characters: what is longer is none of ours.
MAX_TOKEN = 4_096
#: The page that links lead to; the token follows. It is in the query, which no log has.
ROUTE = "/pipeline/ui/signal?link="

_SALT = "pipeline-jobs.signal"


class AlreadySignalled(RequestError):
    """The job has had this signal, with another payload, or has waited for it in vain."""

    code = "already_signalled"

    def __init__(self, first: Mapping[str, Any]) -> None:
        """:param first: the word that counts, as the record has it."""
        late = first["by"] == "timeout"
        super().__init__(
            "the wait for this signal is over: none came in time" if late else f"the job has had this signal from {first['by']}"
        )
        self.first = first


class SignalTooLate(RequestError):
    """The job has ended: it takes no more signals."""

    code = "signal_too_late"


class UnknownSignal(InvalidInput):
    """The pipeline of the job does not wait for a signal of this name."""

    code = "unknown_signal"


class BadLink(RequestError):
    """The link is not valid, or its time is over."""

    code = "bad_link"


def send(
    client: Client, job_id: str, name: str, payload: Any, by: str, whose: Whose = ANYBODYS, *, order: int | None = None
) -> dict[str, Any]:
    """Send a job a signal. If it waits for that it goes on, else it will find the signal when it comes to the wait.

    The first word on a signal counts. The same again changes nothing, and is answered the same.

    :param payload: any JSON value, at most `MAX_PAYLOAD` characters. :param by: who sends it.
    :param order: the job's; an id may be used again.
    :return: the first word, as `Job.signals` has it.
    :raises UnknownJob: there is none, or it is not theirs. :raises UnknownSignal: its pipeline does not wait for such a signal.
    :raises InvalidInput: the payload is too large, or no JSON.
    :raises AlreadySignalled: it has had the signal, with another payload, or the wait is over. :raises SignalTooLate: it has ended.
    """
    job = client.store.get(job_id, whose)
    if name not in client.registry.get(job.pipeline).waits:
        raise UnknownSignal(f"pipeline {job.pipeline!r} does not wait for a signal {name!r}", field="signal")
    text = _text(payload, MAX_PAYLOAD)
    reply = client.store.run(
        "signal", id=job_id, name=name, payload=text, by=by, tenant=whose.tenant_id, workspace=whose.workspace_id, order=order,
    )  # fmt: skip
    match reply.became:
        case "unknown":
            raise UnknownJob
        case "ended":
            raise SignalTooLate
        case "taken":
            raise AlreadySignalled(read_signal(reply.row))
    return read_signal(reply.row)


def _text(payload: Any, most: int) -> str:
    """As it is compared: in which order a client writes the members of an object does not matter."""
    text = dumps(in_order(json.loads(dumps(payload))))
    if len(text) > most:
        raise InvalidInput(f"payload is larger than {most} characters of JSON", field="payload")
    return text


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says: this signal, with this payload, for this job."""

    tenant_id: str
    workspace_id: str
    job_id: str
    #: Of the job: an id may be used again.
    order: int
    name: str
    payload: Any


class SignalLinks:
    """Signs and reads links. The secret is asked for when first needed: it may be in the store."""

    def __init__(self, base_url: str, secret: Callable[[], str]) -> None:
        self._base_url, self._secret = base_url, secret

    def of(self, job: Job) -> Callable[[str, Any, float], str]:
        """`JobContext.signal_url` of this job."""

        def signal_url(name: str, payload: Any, expires_seconds: float) -> str:
            return self.make(Link(job.tenant_id, job.workspace_id, job.job_id, job.order, name, payload), expires_seconds)

        return signal_url

    def make(self, link: Link, expires_seconds: float) -> str:
        """Its address. :param expires_seconds: for how long it is good. :raises InvalidInput: the payload is too large, or no JSON."""
        if not 0 < expires_seconds <= MAX_WAIT:
            raise InvalidInput(f"expires_seconds must be above 0 and at most {MAX_WAIT}", field="expires_seconds")
        _text(link.payload, MAX_IN_LINK)
        until = int(time.time() + expires_seconds)
        said = [until, link.tenant_id, link.workspace_id, link.job_id, link.order, link.name, link.payload]
        return f"{self._base_url}{ROUTE}{self._signer.dumps(said)}"

    def read(self, token: str) -> Link:
        """:raises BadLink: we did not sign it, or its time is over."""
        try:
            if len(token) > MAX_TOKEN:
                raise BadLink
            until, *said = self._signer.loads(token)
        except (BadData, ValueError, TypeError, UnicodeError):
            raise BadLink from None
        if time.time() > until:
            raise BadLink
        return Link(*said)

    @cached_property
    def _signer(self) -> URLSafeSerializer:
        return URLSafeSerializer(self._secret(), salt=_SALT)


def job_of(client: Client, link: Link) -> Job:
    """The job that a link is for. :raises UnknownJob: there is none (any more)."""
    job = client.store.get(link.job_id, Whose(link.tenant_id, link.workspace_id))
    if job.order != link.order:
        raise UnknownJob
    return job


def is_its_word(link: Link, first: Mapping[str, Any]) -> bool:
    """Whether the word that counts is what this link sends, whoever sent it. :param first: as `Job.signals` has it."""
    return first["by"] != "timeout" and _text(first["payload"], MAX_PAYLOAD) == _text(link.payload, MAX_PAYLOAD)


__all__ = [
    "MAX_IN_LINK",
    "MAX_PAYLOAD",
    "AlreadySignalled",
    "BadLink",
    "Link",
    "SignalLinks",
    "SignalTooLate",
    "UnknownSignal",
    "is_its_word",
    "job_of",
    "send",
]
