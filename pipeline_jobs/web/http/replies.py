"""Makes the JSON answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, TypeVar

from flask import Response, request
from pydantic_core import to_json
from werkzeug.datastructures import Headers
from werkzeug.http import parse_etags

from pipeline_jobs.job import Job
from pipeline_jobs.store.readable import readable
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.state import web

_JSON = "application/json"
_JOBS = "/pipeline/jobs"

Found = TypeVar("Found")


class Reply(Response):
    """An answer whose headers are complete when it is made.

    werkzeug copies and checks all headers again when it sends an answer, to make up for what may be missing; that is a third of
    the time of a GET. Here the length is set with the bytes and a Location is a path of ASCII.
    """

    def get_wsgi_headers(self, environ: Any) -> Headers:
        return self.headers


def encode(body: Any) -> bytes:
    """Compact UTF-8 JSON; a NaN that a pipeline left in its result becomes null."""
    try:
        return to_json(body, inf_nan_mode="null")
    except ValueError:
        # It takes 255 levels; a pipeline's result may have more.
        return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def prefers(media_type: str) -> bool:
    """The client asks for this type, and does not like JSON better."""
    accepted = request.accept_mimetypes
    return bool(accepted) and accepted.best_match((_JSON, media_type)) == media_type


def reply(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON."""
    return Reply(encode(body), status, headers, content_type=_JSON)


def job_path(job: Job) -> str:
    return f"{_JOBS}/{job.job_id}"


def job_body(job: Job) -> dict[str, Any]:
    """The job as clients see it (`docs/api.md`)."""
    return job.to_body(web().settings.public_url)


def page_reply(name: str, found: Iterable[Found], body: Callable[[Found], dict[str, Any]], **members: Any) -> Response:
    """A page of a list: `{name: [...], "count": ..., **members}`. A record that cannot be shown is left out and logged.

    :param name: of the list (`jobs`).
    """
    bodies = list(readable(found, body, kind=name.removesuffix("s")))
    if "next_cursor" in members:
        members["next_cursor"] = seal(members["next_cursor"])
    return reply({name: bodies, "count": len(bodies), **members})


def job_reply(job: Job, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The job with its `ETag`; with `Retry-After` while it has not ended."""
    data = encode(job_body(job))
    response = Reply(data, status, headers, content_type=_JSON)
    _describe(response, job, _etag(data))
    return response


def job_reply_if_changed(job: Job, headers: Mapping[str, str] | None = None) -> Response:
    """As `job_reply`, or 304 without a body if the client's `If-None-Match` has this very state."""
    data = encode(job_body(job))
    etag = _etag(data)
    if not _known(etag):
        response: Response = Reply(data, 200, headers, content_type=_JSON)
    else:
        response = Reply(status=304, headers=headers)
        response.headers.remove("Content-Type")
    _describe(response, job, etag)
    return response


def is_known(job: Job) -> bool:
    """The client's `If-None-Match` has this very state of the job."""
    return _known(_etag(encode(job_body(job))))


def retry_after(job: Job) -> int:
    """When it is worth asking again, in seconds: 1 for a young job, up to 10 for one that has taken long already."""
    age = time.time() - (job.attempt_started_at or job.created_at) / 1000
    return int(min(10, max(1, age / 10)))


def _describe(response: Response, job: Job, etag: str) -> None:
    headers = response.headers
    headers.add("ETag", etag)
    headers.add("Cache-Control", "private, no-cache")
    if not job.ended:
        headers.add("Retry-After", str(retry_after(job)))


def _etag(data: bytes) -> str:
    return f'"{blake2b(data, digest_size=12).hexdigest()}"'


def _known(etag: str) -> bool:
    given = request.environ.get("HTTP_IF_NONE_MATCH")
    if given is None:
        return False
    return given == etag or parse_etags(given).contains_weak(etag.strip('"'))
