"""`PipelineJobs`: the API at an address, with what takes more than one request."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import httpx

from pipeline_jobs_client.errors import check_stream, checked
from pipeline_jobs_client.generated.api.jobs import create_job, get_job
from pipeline_jobs_client.generated.client import AuthenticatedClient, Client
from pipeline_jobs_client.generated.models import Event, Job, JobRequest, Upload
from pipeline_jobs_client.patience import PASSING, PAUSES, patiently, seconds_of
from pipeline_jobs_client.uploading import upload

#: Longest silence of a stream: it is pinged every 15 s.
SILENCE_SECONDS = 45
#: The server holds a request at most so long while it waits for a job's end.
HOLD_SECONDS = 25
#: How much of a file one request brings.
PIECE_BYTES = 8 * 1024 * 1024


class PipelineJobs:
    """The API at an address (`with PipelineJobs(url) as jobs:` closes its connections).

    For whatever is not here, give `client` to a function of `generated.api`:

    `list_jobs.sync(client=jobs.client, tenant_id="acme")`.
    """

    def __init__(self, url: str, key: str | None = None, *, seconds: float = 60) -> None:
        """
        :param url: for example `http://127.0.0.1:8000`.
        :param key: `pjk_...`; None where the API asks for none.
        :param seconds: how long a request may take.
        """
        timeout = httpx.Timeout(seconds)
        #: What the generated functions take.
        self.client = (
            # Without a key it sends none; the generated functions name the other class alone.
            cast(AuthenticatedClient, Client(base_url=url.rstrip("/"), timeout=timeout))
            if key is None
            else AuthenticatedClient(base_url=url.rstrip("/"), token=key, timeout=timeout)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self.client.get_httpx_client().close()

    def create(self, **fields: Any) -> Job:
        """A new job of these fields (`url`, `pipeline`, `params`, ...). Sent again after a lost answer it is still one job.

        :raises Refused:
        """
        # Whether it was accepted is not known if the answer is lost: the key makes it safe to ask again.
        key, body = str(uuid.uuid4()), JobRequest.from_dict(fields)
        return checked(patiently(lambda: create_job.sync_detailed(client=self.client, body=body, idempotency_key=key)).parsed)

    def wait(self, job_id: str, *, seconds: float | None = None) -> Job:
        """The job when it has ended, in whatever way; no polling: the server holds each request until then. A server that restarts, or
        has no room for a request that waits, is asked again.

        :param seconds: how long at most; None: until it ends.
        :raises TimeoutError: it has not ended by then, and goes on.
        :raises Refused:
        """
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            left = HOLD_SECONDS if until is None else min(HOLD_SECONDS, until - time.monotonic())
            prefer = f"wait={max(1, round(left))}"
            answer = patiently(partial(get_job.sync_detailed, job_id, client=self.client, prefer=prefer))
            job = checked(answer.parsed)
            if not isinstance(job, Job) or job.completed_at is not None:
                return cast(Job, job)
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"{job_id} has not ended within {seconds} s")
            if "Preference-Applied" not in answer.headers:
                # It did not wait: too many others do. To ask again at once would be what it has no room for.
                time.sleep(seconds_of(answer.headers, PAUSES[0]))

    def follow(self, job_id: str, *, after: int = 0) -> Iterator[Event]:
        """The job's events as they happen, each once, to its last; a lost connection is made good.

        :param after: begin behind the event with this `seq`.
        :raises Refused:
        """
        last = after
        while True:
            pause = PAUSES[0]
            try:
                for event in self._stream(f"/pipeline/jobs/{job_id}/events", last):
                    last = event.seq
                    yield event
            except _Ended:
                return
            except _Later as later:
                pause = later.seconds
            except httpx.TransportError:
                pass
            time.sleep(pause)

    def _stream(self, path: str, last: int) -> Iterator[Event]:
        """:raises _Ended: there is nothing behind `last`, and never will be. :raises _Later: there is no stream now."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
        timeout = httpx.Timeout(SILENCE_SECONDS)
        with self.client.get_httpx_client().stream("GET", path, headers=headers, timeout=timeout) as response:
            if response.status_code == 204:
                raise _Ended
            if response.status_code in PASSING:
                raise _Later(seconds_of(response.headers, PAUSES[0]))
            check_stream(response)
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield Event.from_dict(json.loads(line[5:]))

    def upload(
        self, path: str | Path, *, tenant_id: str | None = None, metadata: Mapping[str, str] | None = None, piece: int = PIECE_BYTES
    ) -> Upload:
        """Send a file, in pieces; its `url` is what a job takes. Goes on where a lost connection stopped it.

        :param metadata: kept with it; absent: the file's name.
        :raises Refused: `storage_full`, `disk_full`, ...
        """
        file = Path(path)
        told = {"filename": file.name} if metadata is None else metadata
        with file.open("rb") as opened:
            return upload(self.client, opened, file.stat().st_size, metadata=told, tenant_id=tenant_id, piece=piece)


class _Ended(Exception):
    """A stream has come to its end."""


class _Later(Exception):
    """A stream is to be asked for again after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
