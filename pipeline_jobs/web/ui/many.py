"""Many jobs at once: addresses, one a line, become a batch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Response, request

from pipeline_jobs.exceptions import KeyReused, PipelineJobsError
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.batches import make_batch
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused, answer
from pipeline_jobs.web.schemas.batches import BatchRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, chosen_tenant, page, see_other
from pipeline_jobs.web.ui.forms import form_token, problems_at, read_words, sent_token
from pipeline_jobs.web.ui.titles import MOST_NAMED, with_title

#: Within which a form's token is one of a kind.
ROUTE = "ui batches"
#: Most lines with faults that are told; the others have the same, as a rule.
MOST_FAULTS = 20
_SHOWN = ("tenant_id", "workspace_id", "jobs", "pipeline", "tags")
_OF_A_JOB = re.compile(r"jobs\.(\d+)(?:\.(.*))?")


@blueprint.get("/submit/many")
def many() -> Response:
    return _page({"tenant_id": chosen_tenant() or ""})


@blueprint.post("/submit/many")
def submit_many() -> Response:
    values = request.form.to_dict()
    lines = _lines(values.get("urls", ""))
    try:
        body = check(BatchRequest, _body(values, [text for _, text in lines]))
        made = _made(body, sent_token())
    except (Refused, PipelineJobsError) as error:
        told = answer(error)
        if told.status_code == 403:
            raise
        return _page(values, problems_at(told, _SHOWN), _faults(told, lines), told.status_code)
    return see_other("ui.batch", batch_id=made)


def _made(body: BatchRequest, token: str | None) -> str:
    try:
        return make_batch(body, token, ROUTE).batch.batch_id
    except KeyReused:
        # The form was sent, called back and changed: that is another batch.
        return make_batch(body, None, ROUTE).batch.batch_id


def _lines(text: str) -> list[tuple[int, str]]:
    """What is not empty, with the number of its line."""
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _body(values: Mapping[str, str], urls: list[str]) -> dict[str, Any]:
    """The body that the API would be sent for this form.

    :raises Refused: 422, there is no address, or the tags cannot be read.
    """
    if not urls:
        raise Refused(422, "invalid_input", "at least one address, one a line", field="jobs")
    same: dict[str, Any] = {name: values[name].strip() for name in ("pipeline", "quality") if values.get(name, "").strip()}
    if tags := read_words("tags", values.get("tags", "")):
        same["tags"] = tags
    whose = {name: values[name].strip() for name in ("tenant_id", "workspace_id") if values.get(name, "").strip()}
    title = values.get("title", "").strip()
    return {**whose, "jobs": _jobs(same, urls), "metadata": {"title": title[:120]} if title else {}}


def _jobs(same: Mapping[str, Any], urls: list[str]) -> list[dict[str, Any]]:
    jobs = [{**same, "url": url} for url in urls]
    return [with_title(job) for job in jobs[:MOST_NAMED]] + jobs[MOST_NAMED:]


def _faults(told: Response, lines: list[tuple[int, str]]) -> list[tuple[int, str, str]]:
    """What is wrong with which line: its number, its text, and the fault."""
    found = []
    for one in told.get_json().get("errors", ()):
        if (place := _OF_A_JOB.fullmatch(one["field"])) and int(place[1]) < len(lines):
            number, text = lines[int(place[1])]
            named = place[2] and place[2] != "url"
            found.append((number, text[:200], f"{place[2]}: {one['message']}" if named else one["message"]))
    return found[:MOST_FAULTS]


def _page(
    values: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    faults: list[tuple[int, str, str]] | None = None,
    status: int = 200,
) -> Response:
    pipelines = [one for one in web().cell.pipelines.all() if one.needs_url]
    return page(
        "many",
        status,
        pipelines=pipelines,
        qualities=sorted({quality for one in pipelines for quality in one.qualities}),
        values=values,
        errors=errors or {},
        faults=faults or [],
        bound=caller().workspace_id,
        token=form_token(),
    )
