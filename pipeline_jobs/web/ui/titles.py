"""The title of a job whose film was uploaded: the name that the file had. The film seldom tells one, and its address is a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline_jobs.exceptions import UnknownUpload
from pipeline_jobs.files.upload import SCHEME
from pipeline_jobs.web.api.uploads import own_upload
from pipeline_jobs.web.ui.story import MAX_TITLE

#: Most uploads of a form that are asked for their names: as many files as it lets one choose at once.
MOST_NAMED = 100


def with_title(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a new job with `metadata.title`, if it is of one of the caller's uploads and has no title."""
    metadata, url = body.get("metadata", {}), body.get("url")
    if not isinstance(metadata, Mapping) or "title" in metadata or not (name := _file_of(url)):
        return dict(body)
    return {**body, "metadata": {**metadata, "title": name}}


def _file_of(url: object) -> str:
    if not isinstance(url, str) or not url.startswith(SCHEME):
        return ""
    try:
        return own_upload(url.removeprefix(SCHEME)).metadata.get("filename", "").strip()[:MAX_TITLE]
    except UnknownUpload:
        # Whether a job may have it is said where the job is made.
        return ""
