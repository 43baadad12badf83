"""A client of the HTTP API in a page of Python, with nothing but requests: make jobs, follow them live, batches, cancel, check a webhook.

    python -m examples.client http://127.0.0.1:8000 https://example.com/talk.mp4

Take it as a start for your own; docs/api.md is the contract. A key, where the API asks for one, comes from PIPELINE_API_KEY.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests

#: Longest silence of a stream: it is pinged every 15 s.
SILENCE_SECONDS = 45
#: How old a webhook may be: an older one may be a recording that somebody plays again.
WEBHOOK_SECONDS = 300


class Refused(Exception):
    """The API said no; `problem` is its body (RFC 9457): switch on `problem["code"]`."""

    def __init__(self, problem: Mapping[str, Any]) -> None:
        super().__init__(f"{problem.get('code')}: {problem.get('detail')}")
        self.problem = problem


class Client:
    """The API at an address."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def create(self, **fields: Any) -> dict[str, Any]:
        """A job. Sent again after a lost answer or a 503 it is still one job, for its Idempotency-Key."""
        return self._make("/pipeline/jobs", fields)

    def create_batch(self, jobs: Sequence[Mapping[str, Any]], **fields: Any) -> dict[str, Any]:
        """Up to 1,000 jobs in one call: all of them, or none."""
        return self._make("/pipeline/batches", {"jobs": list(jobs), **fields})

    def retry(self, job_id: str, **fields: Any) -> dict[str, Any]:
        """Run an ended job again, from where it failed."""
        return self._make(f"/pipeline/jobs/{job_id}/retry", fields)

    def get(self, job_id: str) -> dict[str, Any]:
        return self._ask("GET", f"/pipeline/jobs/{job_id}")

    def batch(self, batch_id: str) -> dict[str, Any]:
        return self._ask("GET", f"/pipeline/batches/{batch_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        return self._ask("POST", f"/pipeline/jobs/{job_id}/cancel")

    def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        return self._ask("POST", f"/pipeline/batches/{batch_id}/cancel")

    def list(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """All jobs that match, newest first, page by page."""
        while True:
            page = self._ask("GET", "/pipeline/jobs", params=filters)
            yield from page["jobs"]
            if page["next_cursor"] is None:
                return
            filters["cursor"] = page["next_cursor"]

    def wait(self, job_id: str) -> dict[str, Any]:
        """The job when it has ended; each request waits up to 30 s for that."""
        while True:
            job = self._ask("GET", f"/pipeline/jobs/{job_id}", headers={"Prefer": "wait=30"})
            if job["completed_at"] is not None:
                return job

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """The job's events as they happen, each once, to the last; lost connections are made good."""
        last = 0
        while True:
            try:
                with self._session.get(
                    f"{self._url}/pipeline/jobs/{job_id}/events",
                    headers={"Accept": "text/event-stream", "Last-Event-ID": str(last)},
                    stream=True,
                    timeout=SILENCE_SECONDS,
                ) as response:
                    if response.status_code == 204:
                        return
                    if response.status_code != 503:
                        _check(response)
                        for event in _events(response):
                            last = event["seq"]
                            yield event
            except requests.RequestException:
                pass
            time.sleep(1)

    def _make(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        while True:
            try:
                response = self._session.post(self._url + path, json=body, headers=headers, timeout=60)
            except requests.ConnectionError:
                # Whether it was accepted is not known: the key makes it safe to ask again.
                time.sleep(1)
                continue
            if response.status_code in (429, 503):
                time.sleep(int(response.headers.get("Retry-After", 1)))
                continue
            return _body(response)

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return _body(self._session.request(method, self._url + path, timeout=60, **options))


def _check(response: requests.Response) -> None:
    """:raises Refused:"""
    if response.status_code >= 400:
        raise Refused(response.json())


def _body(response: requests.Response) -> dict[str, Any]:
    _check(response)
    body: dict[str, Any] = response.json()
    return body


def _events(response: requests.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith(b"data:"):
            yield json.loads(line[5:])


def verify_webhook(secret: str, headers: Mapping[str, str], body: bytes, now: float | None = None) -> dict[str, Any]:
    """The event of a webhook, if it is ours and fresh (standardwebhooks.com).

    Answer 2xx only when it is safe with you, and pass over ids that you have seen: it may come twice.

    :param secret: `whsec_...`, as the API showed it.
    :raises ValueError: it is not signed with the secret, or is too old.
    """
    names = {name.lower(): value for name, value in headers.items()}
    stamp = names["webhook-timestamp"]
    if abs((time.time() if now is None else now) - int(stamp)) > WEBHOOK_SECONDS:
        raise ValueError("too old, or from the future")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = b".".join([names["webhook-id"].encode(), stamp.encode(), body])
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    # While a secret is being changed there are two signatures.
    for signature in names["webhook-signature"].split():
        version, _, given = signature.partition(",")
        if version == "v1" and hmac.compare_digest(given, expected):
            event: dict[str, Any] = json.loads(body)
            return event
    raise ValueError("the signature is not of this secret")


def main(url: str, media: str) -> int:
    """Make a job and show how it goes on. :return: 0 if it completed."""
    # Said at once if nothing is there: `create` would wait until something is.
    requests.get(f"{url}/health/live", timeout=60)
    client = Client(url, os.environ.get("PIPELINE_API_KEY"))
    job = client.create(url=media)
    for event in client.follow(job["job_id"]):
        data = event["data"]
        print(f"{event['created_at']}  {event['type']:22} {data['progress']:5.1f} %  {data['stage'] or ''}")
    job = client.get(job["job_id"])
    print(json.dumps(job["result"] or job["error_detail"], indent=2))
    return 0 if job["status"] == "completed" else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m examples.client API_URL MEDIA_URL")
    try:
        sys.exit(main(*sys.argv[1:]))
    except Refused as refused:
        sys.exit(f"The API said no: {refused}. A key comes from PIPELINE_API_KEY.")
    except requests.ConnectionError:
        sys.exit(f"Nothing answers at {sys.argv[1]}.")
