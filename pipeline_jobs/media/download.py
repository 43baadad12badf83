"""Download one address to one file: streamed, capped, resumed, and never a part taken for the whole.

Each try runs on a thread of its own, because neither a DNS look-up nor a blocked read can look for a cancel; the
caller's thread tells the progress meanwhile and closes the socket when the run must stop.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from ssrfguard import SSRFGuardError, TooManyRedirectsError
from ssrfguard.requests import Session

from pipeline_jobs.addresses import source_policy
from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import (
    NotMedia,
    SourceEmpty,
    SourceError,
    SourceForbidden,
    SourceNotFound,
    SourceTooLarge,
    SourceUnavailable,
)
from pipeline_jobs.media import sniff
from pipeline_jobs.media.sniff import Kind
from pipeline_jobs.media.speed import Speed

#: Seconds to connect, and between two pieces of the body.
TIMEOUT = (10.0, 30.0)
#: Tries in a row that brought no new byte.
TRIES = 3
#: Seconds before the second try; doubled for each further one.
BACKOFF = 0.5
#: Seconds between two looks at the progress and for a cancel.
POLL = 0.1
#: Without a known length progress only approaches the end: half of the way at so many bytes.
HALF_WAY = 32 * 1024 * 1024

_CHUNK = 256 * 1024
_HEADERS = {"User-Agent": "pipeline-jobs (media fetch)", "Accept": "*/*", "Accept-Encoding": "identity"}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


#: Content types of pages, and of HLS lists (RFC 8216, and what servers say as well).
_HTML = ("text/html", "application/xhtml+xml")
_HLS = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl")


class PageInstead(Exception):
    """The address gives a web page, not a file: something for a site extractor."""


@dataclass(slots=True)
class _Partial:
    """What the tries so far have brought, and what must hold for the next to go on from there."""

    path: Path
    max_bytes: int
    received: int = 0
    #: Length of the whole body, or None if the server does not say.
    total: int | None = None
    #: A strong ETag, or else Last-Modified: without one a resume could join two different files.
    validator: str | None = None
    #: The highest fraction told so far: a try that starts over does not take progress back.
    told: float = 0.0
    speed: Speed = field(default_factory=lambda: Speed("the source"))

    def restart(self) -> None:
        self.received, self.total, self.validator = 0, None, None


def download(context: JobContext, url: str, path: Path) -> int:
    """Fetch `url` into `path`, telling the progress of the stage; resumes by Range and If-Range when the line breaks.

    :return: bytes stored.
    :raises PageInstead: the body is HTML, or an HLS list that is named as one (nothing is stored).
    :raises SourceError: one of its classes; `NotMedia` for what is neither a page nor media.
    """
    settings = context.settings
    part = _Partial(path, settings.media_max_bytes, speed=Speed(urlsplit(url).hostname or "the source"))
    failures = 0
    while True:
        before = part.received
        try:
            _run(context, _Try(url, part, settings.allow_private_urls))
            return part.received
        except SourceUnavailable:
            failures = failures + 1 if part.received <= before else 1
            if failures >= TRIES:
                raise
        _wait(context, BACKOFF * 2 ** (failures - 1))


def _run(context: JobContext, attempt: _Try) -> None:
    attempt.thread.start()
    try:
        while not attempt.done.wait(POLL):
            context.progress(attempt.fraction(), "downloading")
            attempt.part.speed.check()
    finally:
        attempt.stop()
    if attempt.error is not None:
        raise attempt.error
    context.progress(attempt.fraction(), "downloading")


def _wait(context: JobContext, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        context.check_cancelled()
        time.sleep(min(left, POLL))


class _Try:
    """One request. Everything but `stop` and `fraction` happens on `thread`."""

    def __init__(self, url: str, part: _Partial, allow_private: bool) -> None:
        self.url = url
        self.part = part
        self.allow_private = allow_private
        # With its port, if one is named: it is often that which is wrong.
        self.host = urlsplit(url).netloc.rpartition("@")[2] or "the source"
        self.done = threading.Event()
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._main, name="media-download", daemon=True)
        self._response: requests.Response | None = None
        self._stopped = False

    def fraction(self) -> float:
        received, total = self.part.received, self.part.total
        self.part.told = max(self.part.told, received / total if total else received / (received + HALF_WAY))
        return self.part.told

    def stop(self) -> None:
        """End the thread if it still runs: a read that waits is woken, a look-up or connect ends by its timeout."""
        self._stopped = True
        response = self._response
        if not self.done.is_set() and response is not None:
            try:
                response.raw.shutdown()
            except (ValueError, RuntimeError, OSError):
                pass  # it has just ended by itself
        self.thread.join(timeout=2.0)

    def _main(self) -> None:
        try:
            self._fetch()
        except Exception as error:
            self.error = self._translate(error)
        finally:
            self.done.set()

    def _translate(self, error: Exception) -> Exception:
        """The error as one of ours: its text is for clients, so it names no resolved address and no library."""
        if isinstance(error, TooManyRedirectsError | requests.TooManyRedirects):
            return SourceError("the source redirects too often")
        if isinstance(error, SSRFGuardError | requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            return SourceForbidden(f"{self.host}: this address may not be fetched (not a public http or https address)")
        if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
            return SourceUnavailable(f"{self.host} did not answer in time")
        if isinstance(error, requests.exceptions.SSLError | urllib3.exceptions.SSLError):
            return SourceUnavailable(f"{self.host}: no secure connection could be made")
        if isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
            what = "the connection broke off" if self.part.received else "cannot be reached"
            return SourceUnavailable(f"{self.host}: {what}")
        return error

    def _fetch(self) -> None:
        part = self.part
        headers = dict(_HEADERS)
        if part.received and part.validator:
            headers |= {"Range": f"bytes={part.received}-", "If-Range": part.validator}
        else:
            part.restart()
        with Session(policy=source_policy(self.allow_private)) as session:
            session.trust_env = False  # no proxy and no .netrc of the machine: a proxy would resolve the name itself
            with session.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                self._response = response
                self._check_status(response)
                resumed = self._begin(response)
                self._store(response, resumed)

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status == 416:
            self.part.restart()
            raise SourceUnavailable(f"{self.host}: the source changed while it was fetched")
        if status in (404, 410):
            raise SourceNotFound(f"{self.host} answered {status}: the source does not exist")
        if status in (204, 205):
            raise SourceEmpty
        if status in (408, 425, 429) or status >= 500:
            raise SourceUnavailable(f"{self.host} answered {status}")
        raise SourceError(f"{self.host} answered {status}")

    def _begin(self, response: requests.Response) -> bool:
        """Read what the headers promise; True if the body goes on where the last try ended."""
        part = self.part
        headers = response.headers
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "")) if response.status_code == 206 else None
        if match is not None and int(match[1]) == part.received:
            part.total = int(match[2]) if match[2] != "*" else None
            resumed = True
        else:
            if response.status_code == 206:
                part.restart()
                raise SourceUnavailable(f"{self.host} answered with another part than was asked for")
            part.restart()
            length = headers.get("Content-Length", "")
            # A body that the server compressed has another length than the file.
            part.total = int(length) if length.isdecimal() and "Content-Encoding" not in headers else None
            etag = headers.get("ETag", "")
            part.validator = etag if etag.startswith('"') else headers.get("Last-Modified")
            resumed = False
        if part.total is not None and part.total > part.max_bytes:
            raise SourceTooLarge(f"the source has {part.total} bytes; this server accepts {part.max_bytes}")
        return resumed

    def _store(self, response: requests.Response, resumed: bool) -> None:
        part = self.part
        shown = _Shown.of(response)
        with part.path.open("ab" if resumed else "wb") as file:
            file.truncate(part.received)
            head = None if resumed else b""
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                if self._stopped:
                    return
                if head is not None:
                    head += chunk
                    if len(head) < sniff.HEAD:
                        continue
                    _check_kind(head, shown)
                    chunk, head = head, None
                self._take(file.write(chunk))
            if head:
                _check_kind(head, shown)
                self._take(file.write(head))
        if part.total is not None and part.received != part.total:
            raise SourceUnavailable(f"{self.host}: the connection broke off after {part.received} of {part.total} bytes")
        if part.received == 0:
            raise SourceEmpty

    def _take(self, count: int) -> None:
        self.part.received += count
        self.part.speed.came += count
        if self.part.received > self.part.max_bytes:
            raise SourceTooLarge(f"the source has more than the {self.part.max_bytes} bytes that this server accepts")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a server, or the address, says that the body is. Believed only of what the site's extractor is given, behind its own guards."""

    html: bool
    hls: bool

    @classmethod
    def of(cls, response: requests.Response) -> _Shown:
        kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        return cls(kind in _HTML, kind in _HLS or urlsplit(response.url).path.lower().endswith(".m3u8"))


def _check_kind(head: bytes, shown: _Shown) -> None:
    """:raises PageInstead, NotMedia: by the first bytes of the body."""
    kind = sniff.kind(head)
    if kind is Kind.PLAYLIST and not (shown.hls and sniff.is_hls(head)):
        raise NotMedia("the source is a playlist, not a media file")
    if kind in (Kind.PAGE, Kind.PLAYLIST) or (shown.html and kind is not Kind.MEDIA):
        raise PageInstead
    if kind is Kind.UNKNOWN:
        raise NotMedia("the source is not an audio or video file of a known kind")
