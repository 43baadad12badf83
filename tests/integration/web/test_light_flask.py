"""A request is to a view what it is with Flask's own classes, though less of it is made (`web/light_flask.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest
from flask import Request, Response, current_app, g, request, session, signals, stream_with_context, url_for
from flask.ctx import RequestContext
from flask.testing import FlaskClient
from werkzeug.routing import Map, Rule
from werkzeug.test import EnvironBuilder

from pipeline_jobs.web.asked import asked
from pipeline_jobs.web.light_flask import Api, SimpleRoutes

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "BREW")
SEGMENTS = ("job_1_00000000", "bulk", "token", "search", "a b", "a:b", "\xe9", "x\n", "", "..")


def api_of(client: FlaskClient) -> Api:
    app = client.application
    assert isinstance(app, Api)
    return app


def _matched(context: RequestContext) -> Any:
    """The rule and its variables, or why there is none."""
    context.match_request()
    asked_for = context.request
    error: Any = asked_for.routing_exception
    return asked_for.url_rule, asked_for.view_args, type(error), getattr(error, "new_url", None), getattr(error, "valid_methods", None)


def _environ(path: str, method: str, **more: str) -> dict[str, Any]:
    return {**EnvironBuilder(method=method).get_environ(), "PATH_INFO": path, **more}


def test_each_address_has_the_route_that_flask_finds(client: FlaskClient) -> None:
    app = api_of(client)
    rules = {rule.rule for rule in app.url_map.iter_rules()}
    paths = {path for rule in rules for segment in SEGMENTS for path in (_filled(rule, segment), f"{rule}/{segment}")}
    paths |= {f"/{path}" for path in rules} | {"", "/", "*", "/pipeline/jobs/a/b/c"}
    assert len(paths) > 500
    found = set()
    for path, method in product(sorted(paths), METHODS):
        ours = _matched(app.request_context(_environ(path, method)))
        theirs = _matched(RequestContext(app, _environ(path, method)))
        assert ours == theirs, (method, path)
        found.add(app.routes.find(method, path) is not None)
    assert found == {True, False}


def _filled(rule: str, segment: str) -> str:
    return "/".join(segment if part.startswith("<") else part for part in rule.split("/"))


def test_what_two_rules_could_mean_is_for_werkzeug_to_say() -> None:
    rules = ["/a/<x>", "/a/<int:y>", "/b/<x>", "/b/<x>/c", "/c/<int:x>", "/d", "/d", "/e/<path:x>", "/<x>", "/f/<x>/<y>"]
    routes = SimpleRoutes(Map([Rule(rule, endpoint=str(number), methods=["GET"]) for number, rule in enumerate(rules)]))
    found = {path: routes.find("GET", path) for path in ("/a/1", "/b/1", "/b/1/c", "/c/1", "/d", "/e/1", "/1", "/f/1/2", "/b/", "/b/\xe9")}
    assert {path: (rule[0].endpoint, rule[1]) for path, rule in found.items() if rule} == {"/b/1": ("2", {"x": "1"})}
    assert routes.find("PUT", "/b/1") is None


_BEFORE_FLASK = [
    {"HTTP_HOST": "a b"}, {"HTTP_HOST": 64 * "x"}, {"HTTP_HOST": ""}, {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "Upgrade"},
]  # fmt: skip


@pytest.mark.parametrize("more", _BEFORE_FLASK)
@pytest.mark.parametrize("path", ["/pipeline/jobs", "/pipeline/jobs/job_1_00000000"])
def test_a_host_that_is_none_and_a_websocket_are_flasks_affair(client: FlaskClient, path: str, more: dict[str, str]) -> None:
    app = api_of(client)

    def of(kind: Callable[..., RequestContext]) -> Any:
        with kind(_environ(path, "GET", **more)) as context:
            return type(context.request.routing_exception), context.request.url_rule, context.request.view_args

    assert of(app.request_context) == of(lambda environ: RequestContext(app, environ))


NAMES = ("method", "scheme", "server", "root_path", "path", "query_string", "remote_addr", "url", "host", "full_path", "is_secure")


@pytest.mark.parametrize("path", ["/", "//a", "", "/\xc3\xa9", "/\xff", "/a/"])
@pytest.mark.parametrize("root", ["", "/under", "/under/"])
def test_a_request_says_of_itself_what_flasks_does(client: FlaskClient, path: str, root: str) -> None:
    for more in (
        {},
        {"HTTP_HOST": "Example.x:81", "wsgi.url_scheme": "https", "QUERY_STRING": "a=%C3%A9&b=2"},
        {"REQUEST_METHOD": "get"},
    ):
        environ = {**_environ(path, "PUT", SCRIPT_NAME=root, REMOTE_ADDR="192.0.2.1"), **more}
        ours, theirs = api_of(client).request_class(dict(environ)), Request(dict(environ))
        for name in NAMES:
            assert getattr(ours, name) == getattr(theirs, name), name
        assert list(ours.headers) == list(theirs.headers)
        assert ours.args == theirs.args
        assert ours.environ["werkzeug.request"] is ours


@contextmanager
def heard(signal: Any, said: list[str]) -> Iterator[None]:
    def note(_sender: Any, **_more: Any) -> None:
        said.append(signal.name)

    with signal.connected_to(note):
        yield


SIGNALS = [
    "appcontext_pushed", "request_started", "request_finished", "request_tearing_down", "appcontext_tearing_down", "appcontext_popped",
]  # fmt: skip


@pytest.mark.parametrize("name", SIGNALS)
def test_whoever_listens_to_flask_hears_of_a_request(client: FlaskClient, name: str) -> None:
    said = list[str]()
    with heard(getattr(signals, name), said):
        assert client.get("/health/live").status_code == 200
    assert len(said) == 1


def test_what_is_to_be_done_at_the_end_is_done(client: FlaskClient) -> None:
    done = list[Any]()
    client.application.teardown_request_funcs.setdefault(None, []).append(lambda error: done.append(("request", error)))
    assert client.get("/health/live").status_code == 200
    client.application.teardown_request_funcs.clear()
    client.application.teardown_appcontext_funcs.append(lambda error: done.append(("app", error)))
    assert client.get("/health/live").status_code == 200
    assert done == [("request", None), ("app", None)]


def test_a_view_has_all_that_flask_gives_it(client: FlaskClient) -> None:
    app, seen = api_of(client), list[Any]()

    def view() -> Response:
        assert "left" not in g
        g.left = 1
        seen.append((current_app._get_current_object() is app, request.path, dict(session), url_for("health.live")))  # type: ignore[attr-defined]
        return Response(stream_with_context(iter([request.path, "!"])))

    app.view_functions["health.live"] = view
    for _ in range(2):
        with client:
            answer = client.get("/health/live")
            assert request.path == "/health/live"
            assert g.left == 1
        assert answer.get_data(as_text=True) == "/health/live!"
        assert client.get("/health/live").get_data(as_text=True) == "/health/live!"
    assert seen == 4 * [(True, "/health/live", {}, "/health/live")]
    assert not request
    with pytest.raises(LookupError):
        asked()


def test_what_fails_after_the_view_is_answered_as_flask_answers_it(client: FlaskClient) -> None:
    def fails(_response: Response) -> Response:
        raise ValueError("secret")

    client.application.after_request_funcs.setdefault(None, []).append(fails)
    client.application.config["PROPAGATE_EXCEPTIONS"] = False
    answer = client.get("/health/live")
    assert answer.status_code == 500
    assert "secret" not in answer.get_data(as_text=True)


def test_contexts_leave_nothing_behind_whatever_happens(client: FlaskClient) -> None:
    app = api_of(client)

    def view() -> Response:
        raise SystemExit

    app.view_functions["health.live"] = view
    with pytest.raises(SystemExit):
        client.get("/health/live")
    assert not current_app
    assert not request
