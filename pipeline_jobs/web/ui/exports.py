"""A transcript to take away: as SRT, WebVTT or plain text, made from its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from flask import Response, request

from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.ui.blueprint import blueprint
from pipeline_jobs.web.ui.results import Segment, all_segments

#: How long the last line is shown where nothing says so, in seconds.
_LAST = 4.0


@blueprint.get("/jobs/<job_id>/transcript")
def transcript(job_id: str) -> Response:
    record = handle_of(job_id).record()
    kind = request.args.get("as", "")
    if kind not in _KINDS:
        raise Refused(422, "invalid_input", f"as must be one of: {', '.join(_KINDS)}", field="as")
    lines = all_segments(record)
    if not lines:
        raise Refused(404, "unknown_artifact", "this job has no transcript")
    mimetype, write = _KINDS[kind]
    response = Response(write(lines), content_type=f"{mimetype}; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{record.job_id}.{kind}"'
    return response


def to_srt(lines: Sequence[Segment]) -> str:
    """SubRip: `00:00:01,500 --> 00:00:03,000`."""
    cues = [f"{n}\n{_at(start, ',')} --> {_at(end, ',')}\n{_said(line)}\n" for n, (start, end, line) in enumerate(_timed(lines), 1)]
    return "\n".join(cues)


def to_vtt(lines: Sequence[Segment]) -> str:
    """WebVTT; what would be a mark of its own in it is escaped."""
    cues = [f"{_at(start, '.')} --> {_at(end, '.')}\n{escape(_said(line), quote=False)}\n" for start, end, line in _timed(lines)]
    return "\n".join(["WEBVTT\n", *cues])


def to_text(lines: Sequence[Segment]) -> str:
    """A line for each; who speaks where another one begins."""
    return "".join(f"{_said(line)}\n" for line in lines)


def _timed(lines: Sequence[Segment]) -> list[tuple[float, float, Segment]]:
    """Each line with its start and its end: its own end, at most the next one's start, at least a moment."""
    starts = [line.start for line in lines[1:]] + [lines[-1].end or lines[-1].start + _LAST]
    return [
        (one.start, max(min(one.end or after, max(after, one.start)), one.start + 0.1), one)
        for one, after in zip(lines, starts, strict=True)
    ]


def _said(line: Segment) -> str:
    text = " ".join(line.text.split())
    return f"{line.speaker}: {text}" if line.speaker else text


def _at(seconds: float, mark: str) -> str:
    whole, rest = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{mark}{rest:03}"


_KINDS: Mapping[str, tuple[str, Callable[[Sequence[Segment]], str]]] = {
    "srt": ("application/x-subrip", to_srt), "vtt": ("text/vtt", to_vtt), "txt": ("text/plain", to_text),
}  # fmt: skip
