"""`/pipeline/jobs/{job_id}/transcript/search`: where in a film something is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from flask import Response

from pipeline_jobs.exceptions import JobNotEnded, ResultGone
from pipeline_jobs.job import Job
from pipeline_jobs.meaning import searching
from pipeline_jobs.meaning.embedder import installed
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.jobs import JobPath
from pipeline_jobs.web.schemas.transcripts import Matches, SearchRequest
from pipeline_jobs.web.state import web

#: Files of a job's folder: the index that the output `search` made, and the segments that every transcript has.
INDEX, SEGMENTS = "search.json", "segments.json"
#: Looks for a text in such a file: passages, each with its score, the best first.
_Look = Callable[[Any, str], list[tuple[float, Mapping[str, Any]]]]
#: A larger file is not read into an API's memory, in bytes: 4 hours of speech have some 4 MB of it.
MOST_BYTES = 16 * 1024**2

routes = Routes("transcripts", "/pipeline/jobs", "What is said in the media of jobs.")


@routes.get(
    "/<job_id>/transcript/search",
    "Search a transcript",
    "Passages of the transcript of a completed `media` job. A job without a transcript has none.",
    {200: answer("The best matches.", Matches)},
    errors=(409,),
)
def search(path: JobPath, query: SearchRequest) -> Response:
    job = handle_of(path.job_id).record()
    if not job.ended:
        raise JobNotEnded
    by, matches = _found(job, query.q, query.limit)
    return reply({"job_id": job.job_id, "by": by, "matches": matches, "count": len(matches)})


def _found(job: Job, text: str, limit: int) -> tuple[str, list[dict[str, Any]]]:
    """How was looked, and what fits best. :raises ResultGone: the transcript's files have been removed."""
    ways: list[tuple[str, str, _Look]] = [("meaning", INDEX, searching.by_meaning)] if installed() else []
    for by, name, look in (*ways, ("words", SEGMENTS, searching.by_words)):
        # A file of a later version, a damaged one, or one of another pipeline that has the same name: it has no passages for us.
        with suppress(ValueError, LookupError, TypeError, AttributeError):
            if (file := _read(job, name)) is not None:
                return by, [_match(score, passage) for score, passage in look(file, text)[:limit]]
    return "words", []


def _match(score: float, passage: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: passage[name] for name in ("start", "end", "text")}, "score": score}


def _read(job: Job, name: str) -> Any:
    """A file of the job's as JSON; None: it made none such. :raises StoreUnavailable:"""
    artifacts = web().cell.artifacts
    path = f"{job.artifacts}/{name}"
    if not job.artifacts or not artifacts.exists(path) or artifacts.stat(path).size > MOST_BYTES:
        return None
    try:
        return json.loads(artifacts.read(path))
    except FileNotFoundError:
        raise ResultGone from None
