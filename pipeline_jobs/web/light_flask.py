"""Flask, less what costs each request time and is not needed here: of the request, of its two contexts and of the route only what somebody
asks for is made. Where an app has hooks or listeners that we have not, Flask's own way is gone. Written against Flask 3.1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache
from typing import Any
from wsgiref.types import WSGIEnvironment

from flask import Flask, Request, Response
from flask.ctx import AppContext, RequestContext
from flask.globals import _cv_app, _cv_request
from flask.sessions import NullSession, SessionInterface
from flask.signals import (
    appcontext_popped,
    appcontext_pushed,
    appcontext_tearing_down,
    request_finished,
    request_started,
    request_tearing_down,
)
from flask_openapi.openapi import OpenAPI
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.sansio.utils import get_host
from werkzeug.wsgi import _get_server

from pipeline_jobs.web.asked import asked

#: A rule of one variable of any text, behind what is none.
_LAST = re.compile(r"(?:/[^/<>]+)+/<(\w+)>")


class SimpleRoutes:
    """The rules without variables, and those whose one variable is the path's last segment: nearly all that are asked for. What two rules
    could be meant by is looked for by werkzeug, as is every other path."""

    def __init__(self, routes: Map) -> None:
        rules = list(routes.iter_rules())
        plain = _only((method, rule.rule, rule) for rule in rules if not rule.arguments for method in rule.methods or ())
        last = _only((method, rule.rule.rpartition("/")[0], rule) for rule in rules if rule.arguments for method in rule.methods or ())
        self._plain = {place: rule for place, rule in plain.items() if _is_simple(rule)}
        self._last = {place: (rule, found[1]) for place, rule in last.items() if _is_simple(rule) and (found := _LAST.fullmatch(rule.rule))}
        #: One of these is no value of a variable, whatever the method is.
        self._paths = {rule.rule for rule in rules if not rule.arguments}

    def find(self, method: str, path: str) -> tuple[Rule, dict[str, Any]] | None:
        """The rule and its variable. None: it takes a closer look."""
        if (rule := self._plain.get((method, path))) is not None:
            return rule, {}
        before, _, segment = path.rpartition("/")
        found = self._last.get((method, before))
        if found is None or not segment or path in self._paths or not path.isascii():
            return None
        return found[0], {found[1]: segment}


def _only(found: Iterable[tuple[str, str, Rule]]) -> dict[tuple[str, str], Rule]:
    """By method and path those of which there is one."""
    every = list(found)
    counts = Counter((method, path) for method, path, _ in every)
    return {(method, path): rule for method, path, rule in every if counts[method, path] == 1}


def _is_simple(rule: Rule) -> bool:
    return not (rule.defaults or rule.redirect_to or rule.websocket or rule.host or rule.subdomain)


class LightRequest(Request):
    """Most views ask for its environment only."""

    def __init__(self, environ: WSGIEnvironment, populate_request: bool = True, shallow: bool = False) -> None:
        self.environ, self.shallow = environ, shallow
        self.method = environ.get("REQUEST_METHOD", "GET").upper()
        if populate_request and not shallow:
            environ["werkzeug.request"] = self

    # As werkzeug sets them for each.
    scheme = cached_property(lambda self: self.environ.get("wsgi.url_scheme", "http"))
    server = cached_property(lambda self: _get_server(self.environ))
    root_path = cached_property(lambda self: _decoded(self.environ.get("SCRIPT_NAME") or "").rstrip("/"))
    path = cached_property(lambda self: "/" + _decoded(self.environ.get("PATH_INFO") or "").lstrip("/"))
    query_string = cached_property(lambda self: self.environ.get("QUERY_STRING", "").encode("latin1"))
    headers = cached_property(lambda self: EnvironHeaders(self.environ))
    remote_addr = cached_property(lambda self: self.environ.get("REMOTE_ADDR"))


class LightAppContext(AppContext):
    """Its addresses are the request's, and next to nobody keeps something in it."""

    url_adapter = None

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._cv_tokens = []

    g = cached_property(lambda self: self.app.app_ctx_globals_class())


class LightContext(RequestContext):
    """Of a request of an app of ours."""

    app: Api
    flashes = None

    def __init__(self, app: Api, environ: WSGIEnvironment, request: Request | None = None, session: Any = None) -> None:
        self.app, self.request = app, request or app.request_class(environ)
        self.request.json_module = app.json
        self._session = session or app.session_interface.open_session(app, self.request)
        self._after_request_functions, self._cv_tokens = [], []

    @cached_property
    def url_adapter(self) -> MapAdapter | None:  # type: ignore[override]
        """For whoever makes an address, or has one that needs a closer look."""
        try:
            return self.app.create_url_adapter(self.request)
        except HTTPException as error:
            self.request.routing_exception = error
            return None

    def push(self) -> None:
        """As Flask's, where nothing is around it and nobody listens."""
        if self._cv_tokens or _cv_app.get(None) is not None or _is_heard():
            super().push()
            return
        around = LightAppContext(self.app)
        around._cv_tokens.append(_cv_app.set(around))
        self._cv_tokens.append((_cv_request.set(self), around))
        self.match_request()

    def match_request(self) -> None:
        """As Flask's, with a shorter way for most routes."""
        request, environ = self.request, self.request.environ
        found = self.app.routes.find(request.method, environ.get("PATH_INFO", ""))
        if found is not None and "HTTP_UPGRADE" not in environ and _is_good_host(environ):
            request.url_rule, request.view_args = found
        elif self.url_adapter is not None:
            super().match_request()

    def pop(self, exc: Any = None) -> None:
        """As Flask's, where nothing is called at the end."""
        if len(self._cv_tokens) != 1 or "files" in vars(self.request) or self.app.calls_at_the_end or _cv_request.get() is not self:
            super().pop(exc)
            return
        token, around = self._cv_tokens.pop()
        _cv_request.reset(token)
        self.request.environ["werkzeug.request"] = None
        if around is not None:
            _cv_app.reset(around._cv_tokens.pop())


class _NoSessions(SessionInterface):
    """Flask's own makes an empty one for each request."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


class Api(OpenAPI):
    """Flask in which nothing is async, the names of hosts are remembered, and each request has the classes above."""

    request_class = LightRequest

    @cached_property
    def routes(self) -> SimpleRoutes:
        """Made once the first request has come: there are no more routes then."""
        return SimpleRoutes(self.url_map)

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        return LightContext(self, environ)

    @property
    def calls_at_the_end(self) -> bool:
        """Something is called when a request or its contexts are over."""
        return bool(self.teardown_request_funcs or self.teardown_appcontext_funcs) or _is_heard()

    def full_dispatch_request(self) -> Response:
        if request_started.receivers or request_finished.receivers:
            return super().full_dispatch_request()
        self._got_first_request = True
        try:
            answer = self.preprocess_request()
            if answer is None:
                answer = self.dispatch_request()
        except Exception as error:
            answer = self.handle_user_exception(error)
        return self.process_response(answer) if isinstance(answer, Response) else self.finalize_request(answer)

    def dispatch_request(self) -> Any:
        request = asked()
        if request.routing_exception is not None or request.method == "OPTIONS" or request.url_rule is None:
            return super().dispatch_request()
        return self.view_functions[request.url_rule.endpoint](**(request.view_args or {}))

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func

    #: There are none: the page's are cookies of its own (`access/sessions.py`).
    session_interface = _NoSessions()

    def preprocess_request(self) -> Any:
        """As Flask's, which looks up each time what hooks there are for the route: 4 us a request, with `process_response`."""
        for hook in self._hooks_of(asked())[0]:
            if (answer := hook()) is not None:
                return answer
        return None

    def process_response(self, response: Any) -> Any:
        """As Flask's: for nearly all routes there is nothing to be done. Nobody here uses `after_this_request`."""
        return super().process_response(response) if self._hooks_of(asked())[1] else response

    @cached_property
    def _hooks(self) -> dict[str | None, tuple[list[Callable[[], Any]], bool]]:
        return {}

    def _hooks_of(self, request: Request) -> tuple[list[Callable[[], Any]], bool]:
        """What Flask calls before a route's view, and whether it calls anything after it: known once the first request has come."""
        found = self._hooks.get(request.endpoint)
        if found is None:
            names = (None, *reversed(request.blueprints))
            before = [hook for name in names for hook in self.before_request_funcs.get(name, ())]
            found = self._hooks[request.endpoint] = before, any(self.after_request_funcs.get(name) for name in names)
        return found

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """As Flask's, which checks and encodes the name of the host twice for each request."""
        if request is None or "HTTP_HOST" not in request.environ or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        environ, scheme = request.environ, request.environ["wsgi.url_scheme"]
        host = _server_name(scheme, environ["HTTP_HOST"])
        root, path, query = (_decoded(environ.get(name, "")) for name in ("SCRIPT_NAME", "PATH_INFO", "QUERY_STRING"))
        return MapAdapter(self.url_map, host, root, "", scheme, path, environ["REQUEST_METHOD"], query)


@lru_cache(maxsize=256)
def _server_name(scheme: str, host: str) -> str:
    """What werkzeug makes of a `Host` header. :raises BadHost: it is no name."""
    return Map().bind(get_host(scheme, host).lower()).server_name


def _decoded(text: str) -> str:
    """As WSGI has texts (PEP 3333)."""
    return text if text.isascii() else text.encode("latin1").decode(errors="replace")


def _is_good_host(environ: WSGIEnvironment) -> bool:
    """It is a name. Of one that is none, and of a request without one, werkzeug has something to say."""
    try:
        _server_name(environ["wsgi.url_scheme"], environ["HTTP_HOST"])
    except (KeyError, HTTPException):
        return False
    return True


def _is_heard() -> bool:
    """Somebody listens to what becomes of a request's contexts."""
    begins, ends = appcontext_pushed.receivers or request_tearing_down.receivers, appcontext_tearing_down.receivers
    return bool(begins or ends or appcontext_popped.receivers)
