"""Declares the routes of a resource. What each takes is in its view's signature, and what it answers beside it; the rest follows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask_openapi.blueprint import APIBlueprint

from pipeline_jobs.web.access.flags import require_queue
from pipeline_jobs.web.http.openapi import responses
from pipeline_jobs.web.http.validation import View, validated

#: How a request may be wrong, by the parameter of the view that is read from it.
_WRONG: Mapping[str, tuple[int, ...]] = {"query": (400, 422), "body": (400, 413, 415, 422)}
#: Of routes behind a feature flag: it is off, or there is no such thing; the store cannot be asked.
_BEHIND_FLAG = (404, 503)


class Routes:
    """The routes of a resource: `routes = Routes("audit", "/pipeline")`, then `@routes.get("/audit", ...)` on each view."""

    def __init__(self, name: str, prefix: str, about: str = "", *, tag: str = "", flag: Callable[[], None] | None = require_queue) -> None:
        """
        :param about: what the document says of its tag; where several share one, the first of them says it.
        :param tag: other than its name.
        :param flag: raises if the resource is switched off; None: it never is.
        """
        described = {"name": tag or name, **({"description": about} if about else {})}
        self.blueprint = APIBlueprint(name, __name__, url_prefix=prefix or None, abp_tags=[described])
        self._flagged = flag is not None
        if flag is not None:
            self.blueprint.before_request(flag)
        self.get, self.post, self.put, self.patch, self.delete = (partial(self._on, m) for m in ("get", "post", "put", "patch", "delete"))

    def _on(
        self,
        method: str,
        rule: str,
        summary: str,
        description: str,
        good: Mapping[int, Mapping[str, Any]],
        *,
        errors: tuple[int, ...] = (),
        **document: Any,
    ) -> Callable[[View], View]:
        """The route's decorator. The view's parameters are read and checked (`validated`).

        :param good: the answers by their status (`openapi.answer`).
        :param errors: statuses besides those of any route, of the flag and of its parameters.
        :param document: more for the OpenAPI document, as flask-openapi takes it (`request_body`).
        """

        def declare(view: View) -> View:
            wrong = [status for name in inspect.signature(view).parameters for status in _WRONG.get(name, ())]
            answers = responses(good, *(_BEHIND_FLAG if self._flagged else ()), *wrong, *errors)
            add = getattr(self.blueprint, method)
            added: View = add(rule, summary=summary, description=description, responses=answers, **document)(validated(view))
            return added

        return declare
