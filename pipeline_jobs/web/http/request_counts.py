"""HTTP requests, as Prometheus is shown them: how many of each route and status, how long they took, and which were refused.

A route is the rule of the URL (`/pipeline/jobs/<job_id>`), never what a client wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from wsgiref.types import WSGIEnvironment

from prometheus_client.core import Metric

from pipeline_jobs.operation.shared_counts import Histogram, Key, Row, SharedCounts, counter, histogram

#: Upper bounds in seconds. A request may wait for its job (`Prefer: wait`).
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What is no route of ours, and no method.
NO_ROUTE, NO_METHOD = "_none", "_other"
#: Where `problems` notes the code of an error.
PROBLEM = "pipeline-jobs.problem"
_LABELS = ("method", "route")


class RequestCounts:
    """Those of this process, until it joins the others of its server."""

    def __init__(self) -> None:
        self.join(SharedCounts(), 0)

    def join(self, shared: SharedCounts, row: int) -> None:
        """Count in memory that all processes of the server share. Call it before the first request."""
        self._shared: SharedCounts = shared
        self._row: Row = shared.row(row)
        #: By method, route and status: the place of the counter, and the histogram.
        self._places: dict[tuple[str, str, str], tuple[int, Histogram]] = {}

    def answered(self, environ: WSGIEnvironment, status: str, seconds: float) -> None:
        """:param status: `200 OK`. :param seconds: until the answer began: how long a stream then lasts is its client's affair."""
        flask_request: Any = environ.get("werkzeug.request")
        rule = flask_request.url_rule if flask_request is not None else None
        method = environ["REQUEST_METHOD"]
        place = (method if method in _METHODS else NO_METHOD, NO_ROUTE if rule is None else rule.rule, status[:3])
        known = self._places.get(place)
        if known is None:
            took = Histogram(self._row, "seconds", place[:2], BOUNDS)
            known = self._places[place] = self._row.place(("requests", *place)), took
        known[1].observe(seconds, known[0])
        if PROBLEM in environ:
            self._row.count(self._row.place(("refusals", *place[:2], environ[PROBLEM])))

    def refused_before(self, status: int, code: str) -> None:
        """Before it was a request: its head was too long, came too late, or was none."""
        place: Key = (NO_METHOD, NO_ROUTE)
        self._row.count(self._row.place(("requests", *place, str(status))), self._row.place(("refusals", *place, code)))

    def families(self) -> Iterator[Metric]:
        """Of all processes of the server."""
        totals = self._shared.totals()
        requests = "HTTP requests, by method, route (the rule of its URL) and status."
        yield counter(totals, "requests", "pipeline_http_requests", requests, (*_LABELS, "code"))
        took = "Time from a request's head to the beginning of its answer."
        yield histogram(totals, "seconds", "pipeline_http_request_duration_seconds", took, _LABELS, BOUNDS)
        refusals = "HTTP requests that were answered with a problem, by its code (docs/api.md)."
        yield counter(totals, "refusals", "pipeline_http_refusals", refusals, (*_LABELS, "code"))
