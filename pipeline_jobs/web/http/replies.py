"""Makes the JSON answers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from hashlib import blake2b
from itertools import chain
from typing import Any, TypeVar
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog
from flask import Response, request
from pydantic_core import to_json
from werkzeug.datastructures import Headers
from werkzeug.http import parse_etags

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.job import Job
from pipeline_jobs.store.readable import readable
from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.http.sealing import seal
from pipeline_jobs.web.server.giving_way import give_way_at_times
from pipeline_jobs.web.state import web

logger = structlog.get_logger(__name__)

_JSON = "application/json"
#: Of a file that is read at once, in bytes.
_CHUNK = 64 * 1024
_RESULT = b',"result":'
_JOBS = "/pipeline/jobs"
_PRIVATE = ("Cache-Control", "private, no-cache")

Found = TypeVar("Found")


class Reply(Response):
    """An answer whose headers are complete when it is made: its length is set with the bytes and a Location is a path of ASCII.

    werkzeug looks at each header as it is added, and copies and checks all of them again when it sends an answer, to make up for what may
    be missing; that is a third of the time of a GET. What is no header, gunicorn refuses.
    """

    def __init__(
        self, data: bytes | Iterable[bytes], status: int = 200, headers: Mapping[str, str] | None = None, content_type: str | None = _JSON
    ) -> None:
        """:param headers: none of them says what the content is. :param content_type: None: there is none."""
        self.headers, self._on_close, self.direct_passthrough = Headers(), [], False
        self._fields = self.headers._list
        self._status, self._status_code = _status(status)
        if headers:
            self._fields += headers.items()
        if content_type is not None:
            self._fields.append(("Content-Type", content_type))
        if isinstance(data, bytes):
            self._fields.append(("Content-Length", str(len(data))))
            self.response = [data]
        else:
            self.response = data

    def say(self, *fields: tuple[str, str]) -> None:
        """Header fields that it does not have yet."""
        self._fields += fields

    def get_wsgi_headers(self, environ: Any) -> Headers:
        return self.headers

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """The bytes as they are, where nothing is to be closed behind them: what werkzeug wraps around each answer does no more."""
        if self._on_close or not isinstance(self.response, list) or environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        start_response(self._status, self._fields.copy())
        return self.response


@cache
def _status(code: int) -> tuple[str, int]:
    """As werkzeug has it: `201 CREATED`, and the number."""
    made = Response(status=code)
    return made.status, made.status_code


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
    return Reply(encode(body), status, headers)


def job_path(job: Job) -> str:
    return f"{_JOBS}/{job.job_id}"


def job_body(job: Job) -> dict[str, Any]:
    """The job as clients see it (`docs/api.md`), but for a large result."""
    here = web()
    return job.to_body(here.settings.public_url, here.cell.artifacts.link)


def row_body(job: Job) -> dict[str, Any]:
    """The same in a list, without its result."""
    body = job_body(job)
    del body["result"]
    return body


def page_reply(name: str, found: Iterable[Found], body: Callable[[Found], dict[str, Any]], **members: Any) -> Response:
    """A page of a list: `{name: [...], "count": ..., **members}`. A record that cannot be shown is left out and logged.

    :param name: of the list (`jobs`).
    """

    def shown(one: Found) -> dict[str, Any]:
        give_way_at_times()
        return body(one)

    bodies = list(readable(found, shown, kind=name.removesuffix("s")))
    if "next_cursor" in members:
        members["next_cursor"] = seal(members["next_cursor"])
    return reply({name: bodies, "count": len(bodies), **members})


def job_reply(job: Job, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The job with its `ETag`; with `Retry-After` while it has not ended.

    Of a request that was carried out: a result that cannot be read now is null, which is better than an error.
    """
    data = _data(job)
    try:
        response, etag = _with_result(data, _etag(data), job, status, headers)
    except StoreUnavailable:
        response, etag = _lost_result(data, job, status, headers)
    _describe(response, job, etag)
    return response


def job_reply_if_changed(job: Job, headers: Mapping[str, str] | None = None) -> Response:
    """As `job_reply`, or 304 without a body if the client's `If-None-Match` has this very state.

    :raises StoreUnavailable: its result cannot be read now.
    """
    data = _data(job)
    etag = _etag(data)
    if not _known(etag):
        response, etag = _with_result(data, etag, job, 200, headers)
    else:
        response = Reply([], 304, headers, None)
    _describe(response, job, etag)
    return response


def is_known(job: Job) -> bool:
    """The client's `If-None-Match` has this very state of the job."""
    return _known(_etag(_data(job)))


def retry_after(job: Job) -> int:
    """When it is worth asking again, in seconds: 1 for a young job, up to 10 for one that has taken long already."""
    age = time.time() - (job.attempt_started_at or job.created_at) / 1000
    return int(min(10, max(1, age / 10)))


def file_reply(path: str, before: bytes = b"", after: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer of JSON, some of which is a file: it is neither parsed nor held in memory.

    :raises FileNotFoundError: there is no such artifact. :raises StoreUnavailable: the artifact store cannot be asked.
    """
    artifacts = web().cell.artifacts
    size, file = artifacts.stat(path).size, artifacts.open(path)
    response = Reply(chain((before,), iter(partial(file.read, _CHUNK), b""), (after,)), status, headers)
    response.call_on_close(file.close)
    response.content_length = len(before) + size + len(after)
    return response


def _data(job: Job) -> bytes:
    """The body, without a large result: which file it is, says `result_ref`."""
    return encode(row_body(job) if job.result_ref else job_body(job))


def _with_result(data: bytes, etag: str, job: Job, status: int, headers: Mapping[str, str] | None) -> tuple[Reply, str]:
    """The answer to `_data` and its ETag: of a large result with the file as it is for the last member."""
    path = job.result_ref
    if path is None:
        return Reply(data, status, headers), etag
    try:
        return file_reply(path, data[:-1] + _RESULT, b"}", status, headers), etag
    except FileNotFoundError:
        return _lost_result(data, job, status, headers)


def _lost_result(data: bytes, job: Job, status: int, headers: Mapping[str, str] | None) -> tuple[Reply, str]:
    """With another ETag than the whole: who has this one must be given that."""
    logger.error("the result of a job cannot be read", job_id=job.job_id)
    body = data[:-1] + _RESULT + b"null}"
    return Reply(body, status, headers), _etag(body)


def _describe(response: Reply, job: Job, etag: str) -> None:
    response.say(("ETag", etag), _PRIVATE)
    if not job.ended:
        response.say(("Retry-After", str(retry_after(job))))


def _etag(data: bytes) -> str:
    return f'"{blake2b(data, digest_size=12).hexdigest()}"'


def _known(etag: str) -> bool:
    given = asked().environ.get("HTTP_IF_NONE_MATCH")
    if given is None:
        return False
    return given == etag or parse_etags(given).contains_weak(etag.strip('"'))
