"""`POST /pipeline/jobs/{id}/signals/{name}`: what a job waits for."""

from __future__ import annotations

from flask import Response

from pipeline_jobs.jobs import signals
from pipeline_jobs.web.access.caller import caller
from pipeline_jobs.web.api.jobs import known_id
from pipeline_jobs.web.http.openapi import answer
from pipeline_jobs.web.http.replies import reply
from pipeline_jobs.web.http.routes import Routes
from pipeline_jobs.web.schemas.signals import Signal, SignalPath, SignalRequest
from pipeline_jobs.web.state import web

routes = Routes("signals", "/pipeline/jobs", tag="jobs")


@routes.post(
    "/<job_id>/signals/<signal>",
    "Send a job a signal",
    "Wakes a job that waits for this signal; if it does not wait for it yet, it finds the signal when it does. The first signal of a name "
    "counts: the same one again gets the same answer, another payload gets 409 `already_signalled`.",
    {200: answer("The signal that counts.", Signal)},
    errors=(409,),
)
def send(path: SignalPath, body: SignalRequest) -> Response:
    who = caller()
    first = signals.send(web().cell.client, known_id(path.job_id), path.signal, body.payload, who.actor, who.whose)
    return reply({"job_id": path.job_id, "signal": path.signal, **first})
