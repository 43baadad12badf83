"""Stage `fetch`: bring the source into the workdir, as a file or by a site's extractor."""

from __future__ import annotations

from typing import Any

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.media.download import PageInstead, download
from pipeline_jobs.media.sites import download_from_site
from pipeline_jobs.media.uploaded import SOURCE

#: Longest title, in characters: it is shown in lists, and some pages have a whole text there.
MAX_TITLE = 300


def run(context: JobContext) -> dict[str, Any]:
    """Needs `context.url` (http or https), `context.quality` ("1080p": of a site's versions, which one).

    What decides between the two ways is what the address gives, not its name: a web page goes to yt-dlp.

    :return: `{"source": "source", "title": str | None}`; with `parts`, names of files, where `join.joined` has to make the source first.
    :raises SourceError: one of its classes; `NotMedia` if it is neither media nor a page that shows one.
    """
    if not context.url:
        raise BadParameters("the media pipeline needs a url")
    target = context.workdir / SOURCE
    try:
        download(context, context.url, target)
    except PageInstead:
        target.unlink(missing_ok=True)
        height = int((context.quality or "1080p").removesuffix("p"))
        found = download_from_site(context, context.url, height, "site")
        source: dict[str, Any] = {"source": SOURCE, "title": _title(found.get("title"))}
        if len(found["files"]) > 1:
            source["parts"] = found["files"]
            return source
        (context.workdir / found["files"][0]).rename(target)
        return source
    return {"source": SOURCE, "title": None}


def _title(found: object) -> str | None:
    """The page's title, which may be of any length, cut."""
    return found[:MAX_TITLE] if isinstance(found, str) else None
