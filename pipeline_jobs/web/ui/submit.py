"""The form for a new job."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask import Response, request
from pydantic_core import from_json

from pipeline_jobs.exceptions import KeyReused, PipelineJobsError, StoreUnavailable, TryLater, UnknownPipeline
from pipeline_jobs.job import ACCEPTED, Job, NewJob
from pipeline_jobs.pipelines import Pipeline
from pipeline_jobs.tenants import is_canary_pipeline
from pipeline_jobs.web import problems
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.jobs import handle_of
from pipeline_jobs.web.http import submitting
from pipeline_jobs.web.http.validation import check
from pipeline_jobs.web.problems import Refused
from pipeline_jobs.web.schemas.jobs import JobRequest
from pipeline_jobs.web.state import web
from pipeline_jobs.web.ui.blueprint import blueprint, chosen_tenant, page, see_other
from pipeline_jobs.web.ui.forms import form_token, problems_at, read_words, sent_token, write_words
from pipeline_jobs.web.ui.other_fields import OTHERS
from pipeline_jobs.web.ui.schema_form import PREFIX, fill, parameters, read_parameters
from pipeline_jobs.web.ui.titles import with_title

#: Within which a form's token is one of a kind.
ROUTE = "ui"


@blueprint.get("/submit")
def form() -> Response:
    if like := request.args.get("like"):
        job = handle_of(like).record()
        pipeline = _pipeline(job.pipeline)
        # What it hides must be typed again: the page does not have it.
        hidden = {one["at"][0] for one in job.secret_params}
        shown = {name: value for name, value in job.params.items() if name not in hidden}
        return _page(pipeline, values_of(job, pipeline), fill(pipeline, shown))
    values = {"tenant_id": chosen_tenant() or "", "workspace_id": request.args.get("workspace_id", "")}
    return _page(_pipeline(request.args.get("pipeline", "media")), values, {})


def values_of(job: Job, pipeline: Pipeline) -> dict[str, str]:
    """The form of another job like it, filled in; what has its default is left empty, and so are its parameters (`schema_form.fill`)."""
    asked, plain = job.asked_again(), NewJob(max_attempts=pipeline.retry.max_attempts)
    changed = {name: getattr(asked, name) for name in ACCEPTED if name != "params" and getattr(asked, name) != getattr(plain, name)}
    return {name: _typed(value) for name, value in changed.items() if value is not None}


def _typed(value: Any) -> str:
    match value:
        case Mapping():
            return json.dumps(dict(value), ensure_ascii=False)
        case tuple() | list():
            return write_words(map(str, value))
        case bool():
            return str(value).lower()
    return str(value)


@blueprint.post("/submit")
def submit() -> Response:
    values = request.form.to_dict()
    pipeline = _pipeline(values.get("pipeline", "media"))
    given = {name: request.form.getlist(name) for name in request.form if name.startswith(PREFIX)}
    try:
        job = _submit(read_form(values, read_parameters(pipeline, request.form)), sent_token())
    except (Refused, PipelineJobsError) as error:
        told = problems.answer(error)
        if told.status_code == 403:
            raise
        errors = problems_at(told, _shown(pipeline, typed_as_json=bool(values.get("params"))))
        if isinstance(error, TryLater | StoreUnavailable):
            errors = {"form": f"{told.get_json()['detail']}. Nothing was submitted; try again in {told.headers.get('Retry-After')} s."}
        return _page(pipeline, values, given, errors, told.status_code)
    return see_other("ui.job", job_id=job.job_id)


def read_form(values: Mapping[str, str], params: Mapping[str, Any]) -> JobRequest:
    """The body that the API would be sent for this form; empty fields are not named. A film that was uploaded is called as its
    file was.

    :param params: of the fields that are made from the pipeline's schema; they go before what was typed as JSON.
    :raises Refused: 422, names the field.
    """
    given = {name: values[name].strip() for name in ACCEPTED if values.get(name, "").strip(", \t\r\n")}
    body = {name: _READ.get(ACCEPTED[name], _text)(name, text) for name, text in given.items()}
    if params and isinstance(body.get("params", {}), dict):
        body["params"] = {**body.get("params", {}), **params}
    return check(JobRequest, with_title(body))


def _submit(body: JobRequest, token: str | None) -> Job:
    """Held against the same rates as the API's. :param token: of the form that was sent: sent twice, it makes one job."""
    new = caller().new_job(body.to_new_job(), body.model_fields_set)
    try:
        return submitting.submit(new, ROUTE, token)[0]
    except KeyReused:
        # The form was sent, called back and changed: that is another job.
        return submitting.submit(new, ROUTE, None)[0]


def _page(
    pipeline: Pipeline,
    values: Mapping[str, str],
    given: Mapping[str, list[str]],
    errors: Mapping[str, str] | None = None,
    status: int = 200,
) -> Response:
    return page(
        "submit",
        status,
        pipeline=pipeline,
        pipelines=[known for known in web().cell.pipelines.all() if not is_canary_pipeline(known.name)],
        fields=parameters(pipeline),
        given=given,
        others=OTHERS,
        values=values,
        errors=errors or {},
        open_params=not pipeline.needs_url
        or any(map(any, given.values()))
        or "params" in values
        or any("params" in name for name in errors or {}),
        token=form_token(),
    )


def _shown(pipeline: Pipeline, typed_as_json: bool) -> set[str]:
    """The fields that the form has for this pipeline and caller. :param typed_as_json: so were its parameters: a fault is told there."""
    who = caller()
    optional = {
        "url": pipeline.needs_url,
        "quality": bool(pipeline.qualities),
        "params": bool(pipeline.params.model_fields),
        "tenant_id": who.sees_all,
        "workspace_id": who.workspace_id is None,
    }
    own = () if typed_as_json else (f"params.{one.name}" for one in parameters(pipeline))
    return {*(name for name in ACCEPTED if optional.get(name, True)), *own}


def _pipeline(name: str) -> Pipeline:
    """:raises UnknownPipeline: there is no such one; with the first that there is where none was asked for."""
    registry = web().cell.pipelines
    try:
        return registry.get(name)
    except UnknownPipeline:
        first = next(iter(registry.all()), None)
        if name != "media" or first is None:
            raise
        return first


def _text(name: str, text: str) -> str:
    return text


def _read_by(parse: Callable[[str], Any], wrong: str) -> Callable[[str, str], Any]:
    """:param wrong: what is said of a text that `parse` takes for none, which `{error}` tells more of."""

    def read(name: str, text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise Refused(422, "invalid_input", wrong.format(error=error), field=name) from None

    return read


_integer, _number = _read_by(int, "must be an integer"), _read_by(float, "must be a number")
_json = _read_by(partial(from_json, allow_inf_nan=False), "this is not JSON: {error}")


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise Refused(422, "invalid_input", "must be true or false", field=name)
    return text.lower() == "true"


def _webhook(name: str, text: str) -> Any:
    """An address alone, or all of it as JSON."""
    return {"url": text} if text.startswith(("https:", "http:")) else _json(name, text)


#: How a field is typed into the form, by its type; what is not here is taken as it was typed.
_READ: Mapping[str, Callable[[str, str], Any]] = {
    "bool": _flag,
    "int": _integer,
    "int | None": _integer,
    "float | None": _number,
    "tuple[str, ...]": read_words,
    "Mapping[str, Any]": _json,
    "Mapping[str, Any] | None": _webhook,
}
