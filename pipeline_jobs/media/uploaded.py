"""Bring a file that the client uploaded into the workdir: from the artifact store, no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import NotMedia, SourceEmpty, SourceTooLarge
from pipeline_jobs.media import sniff
from pipeline_jobs.media.sniff import Kind

SCHEME = "upload://"
#: Name of the job's media in its workdir.
SOURCE = "source"


def bring(context: JobContext) -> dict[str, Any]:
    """What stage `fetch` gives, of the upload that the job's URL names.

    :raises SourceNotFound, SourceEmpty, SourceTooLarge, NotMedia: see `copy`.
    """
    copy(context, context.url or "", context.workdir / SOURCE)
    return {"source": SOURCE, "title": None}


def copy(context: JobContext, url: str, path: Path) -> None:
    """The upload that `url` names, as `path`.

    :raises SourceNotFound: this tenant's workspace has no such upload.
    :raises SourceEmpty, SourceTooLarge, NotMedia:
    """
    size, parts = context.open_upload(url.removeprefix(SCHEME))
    limit = context.settings.media_max_bytes
    if size > limit:
        raise SourceTooLarge(f"the upload has {size} bytes; this server accepts {limit}")
    head = b""
    written = 0
    with path.open("wb") as file:
        for part in parts:
            written += file.write(part)
            head = head or part[: sniff.HEAD]
            context.progress(written / size, "copying the upload")
    if not head:
        raise SourceEmpty
    kind = sniff.kind(head)
    if kind is Kind.PLAYLIST:
        raise NotMedia("the upload is a playlist, not a media file")
    if kind is not Kind.MEDIA:
        raise NotMedia("the upload is not an audio or video file of a known kind")
