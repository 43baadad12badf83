"""Every answer: request ids, headers, browsers, errors that nobody foresaw."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import structlog
from flask import Flask, Request
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.exceptions import ConfigurationError, IdTaken, JobNotEnded, StoreError
from pipeline_jobs.states import JobStatus
from tests.cases import each

from .checks import problem_of
from .conftest import MakeClient
from .world import World

URL = "https://media.example/clip.mp4"


@pytest.fixture
def fail(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Every look at jobs breaks in this way."""

    def with_error(error: Exception) -> None:
        def broken(*args: object) -> Any:
            raise error

        for name in ("list", "describe"):
            monkeypatch.setattr(world.cell.client, name, broken)

    return with_error


class TestRequestId:
    def test_is_given_back(self, client: FlaskClient) -> None:
        for path in ("/health/live", "/nowhere"):
            assert client.get(path, headers={"X-Request-Id": "abc-1.2:3"}).headers["X-Request-Id"] == "abc-1.2:3"

    @each("odd", ["", "a b", "a\tb", "<script>", "x" * 129, "é", '"', "a,b", "a;b"])
    def test_an_odd_one_is_replaced(self, client: FlaskClient, odd: str) -> None:
        environ = {"HTTP_X_REQUEST_ID": odd}
        found = client.get("/health/live", environ_overrides=environ).headers["X-Request-Id"]
        assert found != odd
        assert found.isalnum()

    @pytest.mark.parametrize("odd", ["a\r\nSet-Cookie: x=1", "a\nb", "a\n"])
    def test_cannot_add_a_header(self, client: FlaskClient, odd: str) -> None:
        response = client.get("/health/live", environ_overrides={"HTTP_X_REQUEST_ID": odd})
        assert response.headers["X-Request-Id"].isalnum()
        assert "Set-Cookie" not in response.headers

    def test_a_new_one_each_time(self, client: FlaskClient) -> None:
        assert len({client.get("/health/live").headers["X-Request-Id"] for _ in range(20)}) == 20

    def test_is_in_every_log_line(self, make_client: MakeClient, world: World) -> None:
        seen: list[dict[str, Any]] = []
        world.stage = lambda context: seen.append(structlog.contextvars.get_contextvars())
        client = make_client(enable_job_queue=False)
        client.post("/pipeline/run", json={"url": URL}, headers={"X-Request-Id": "mine"})
        assert seen == [{"request_id": "mine", "stage": "fetch"}]


class TestHeaders:
    @each("path", ["/health/live", "/nowhere", "/pipeline/jobs", "/docs", "/openapi.json"])
    def test_every_answer_is_guarded(self, client: FlaskClient, path: str) -> None:
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Cache-Control" in headers
        assert "Set-Cookie" not in headers
        assert not [name for name, _ in headers if name.startswith("Access-Control")]


class TestBrowsers:
    @pytest.mark.parametrize("site", ["cross-site", "same-site", "odd"])
    def test_a_page_of_another_site_changes_nothing(self, client: FlaskClient, world: World, site: str) -> None:
        problem_of(client.post("/pipeline/jobs", json={"url": URL}, headers={"Sec-Fetch-Site": site}), 403, "cross_site")
        assert world.ids() == []

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_our_own_may(self, client: FlaskClient, site: str) -> None:
        assert client.post("/pipeline/jobs", json={"url": URL}, headers={"Sec-Fetch-Site": site}).status_code == 201

    def test_a_link_may_be_followed_from_anywhere(self, client: FlaskClient) -> None:
        assert client.get("/docs", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]:80"])
    def test_on_loopback_a_rebound_name_reaches_nothing(self, client: FlaskClient, host: str) -> None:
        problem_of(client.get("/pipeline/jobs", environ_overrides={"HTTP_HOST": host}), 403, "foreign_host")

    @pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1:8000", "[::1]:8000"])
    def test_our_own_names_do(self, client: FlaskClient, host: str) -> None:
        assert client.get("/pipeline/jobs", environ_overrides={"HTTP_HOST": host}).status_code == 200

    @pytest.mark.parametrize(
        ("host", "changes"), [("jobs.example", {"public_url": "https://jobs.example"}), ("api:8000", {"http_host": "0.0.0.0"})]
    )
    def test_so_does_the_public_one_and_beyond_loopback_any_for_who_has_a_key(
        self, make_client: MakeClient, world: World, host: str, changes: dict[str, str]
    ) -> None:
        client = make_client(**changes)
        # Whoever asks for such a name need not be on this machine, wherever the connection comes from.
        problem_of(client.get("/pipeline/jobs", environ_overrides={"HTTP_HOST": host}), 403, "loopback_only")
        _, text = world.keys.create(ALL, Role.READ, actor="test")
        headers = {"Authorization": f"Bearer {text}"}
        assert client.get("/pipeline/jobs", environ_overrides={"HTTP_HOST": host}, headers=headers).status_code == 200


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "hint"),
        [
            ("/", "/docs lists what there is"),
            ("/pipeline/job/x", "/docs lists what there is"),
            ("/pipeline/jobs/", "it is there without the slash at its end"),
        ],
    )
    def test_a_mistyped_address_gets_a_hint(self, client: FlaskClient, path: str, hint: str) -> None:
        assert problem_of(client.get(path), 404, "not_found")["detail"] == f"there is nothing at {path}; {hint}"

    def test_people_at_a_mistyped_address_of_the_page_get_links_instead(self, client: FlaskClient) -> None:
        assert "/docs" not in client.get("/pipeline/ui/nothing").text

    def test_what_is_wrong_is_said_in_words(self, client: FlaskClient) -> None:
        empty = client.post("/pipeline/jobs", data="", content_type="application/json")
        assert problem_of(empty, 400, "malformed_json")["detail"] == "the body is empty: it must be a JSON object"
        rule = "must be 1 to 64 letters, digits, '.', '_' or '-', of which the first is a letter or digit"
        body = problem_of(client.post("/pipeline/jobs", json={"url": URL, "tenant_id": "a b"}), 422, field="tenant_id")
        assert body["detail"] == f"tenant_id: {rule}"
        assert problem_of(client.get("/pipeline/jobs?tenant_id=a%20b"), 422)["detail"].endswith(rule)

    def test_an_unknown_route_is_404(self, client: FlaskClient) -> None:
        body = problem_of(client.get("/pipeline/nothing?x=1"), 404, "not_found")
        assert body["instance"] == "/pipeline/nothing"

    @each("path", ["/pipeline/jobs/", "/pipeline//jobs", "/%00", "/%ff", "/" + "a" * 5000])
    def test_an_odd_route_is_404(self, client: FlaskClient, path: str) -> None:
        problem_of(client.open(path=path), 404)

    @each(
        ("method", "path", "allowed"),
        [
            ("PUT", "/pipeline/jobs", {"GET", "POST"}),
            ("PUT", "/pipeline/jobs/job_1_00000000", {"GET", "DELETE", "PATCH"}),
            ("GET", "/pipeline/run", {"POST"}),
            ("GET", "/pipeline/jobs/job_1_00000000/cancel", {"POST"}),
            ("POST", "/metrics", {"GET"}),
        ],
    )
    def test_a_wrong_method_is_405_and_says_which_are_right(self, client: FlaskClient, method: str, path: str, allowed: set[str]) -> None:
        response = client.open(path, method=method)
        detail = problem_of(response, 405, "method_not_allowed")["detail"]
        assert detail == f"this address takes only {', '.join(sorted(allowed))}"
        assert allowed <= set(response.headers["Allow"].split(", "))

    def test_a_surprise_is_a_500_that_tells_nothing_but_is_logged(self, client: FlaskClient, fail: Callable[[Exception], None]) -> None:
        fail(ZeroDivisionError("the secret"))
        with capture_logs() as logs:
            body = problem_of(client.get("/pipeline/jobs"), 500, "internal_error")
        assert "secret" not in str(body)
        failures = [line for line in logs if line["log_level"] == "error"]
        assert [(line["event"], line["path"], str(line["exc_info"])) for line in failures] == [
            ("request_failed", "/pipeline/jobs", "the secret")
        ]

    @pytest.mark.parametrize(
        ("error", "status"),
        [(JobNotEnded(), 409), (IdTaken(), 503), (StoreError("secret"), 500), (ConfigurationError("secret"), 500)],
    )
    def test_every_known_error_has_its_status(
        self, client: FlaskClient, fail: Callable[[Exception], None], error: Exception, status: int
    ) -> None:
        fail(error)
        body = problem_of(client.get("/pipeline/jobs/job_1_00000000"), status)
        assert "secret" not in str(body)


class TestAddresses:
    """The app reads a request's address by itself (`Api.create_url_adapter`): as Flask would."""

    @each("path", ["/", "//pipeline/jobs", "/pipeline/jobs/é", "/pipeline/jobs/%C3%A9", "/pipeline/jobs/\xff", "/a b", ""])
    @each("host", ["localhost", "LOCALHOST:80", "localhost:8000", "[::1]:80", "127.0.0.1:443", "bücher.example", "a b", "x:99999", "", "."])
    def test_are_read_as_flask_reads_them(self, client: FlaskClient, host: str, path: str) -> None:
        app = client.application
        for scheme, root in product(("http", "https"), ("", "/under")):
            environ = {
                "REQUEST_METHOD": "PUT", "SCRIPT_NAME": root, "PATH_INFO": path, "QUERY_STRING": "a=é", "wsgi.url_scheme": scheme,
                "HTTP_HOST": host, "SERVER_NAME": "here", "SERVER_PORT": "80",
            }  # fmt: skip
            asked = app.request_class(environ)
            assert _read(app.create_url_adapter, asked) == _read(partial(Flask.create_url_adapter, app), asked)

    def test_one_without_a_host_and_one_of_a_websocket_too(self, client: FlaskClient) -> None:
        app = client.application
        for more in ({}, {"HTTP_HOST": "localhost", "HTTP_CONNECTION": "Upgrade", "HTTP_UPGRADE": "websocket"}):
            with app.test_request_context("/pipeline/jobs") as context:
                environ = {name: value for name, value in context.request.environ.items() if name != "HTTP_HOST"} | more
            asked = app.request_class(environ)
            found = _read(app.create_url_adapter, asked)
            assert found == _read(partial(Flask.create_url_adapter, app), asked)
            assert found["websocket"] is bool(more)

    def test_what_one_request_sends_no_other_has(self, client: FlaskClient, world: World) -> None:
        path = f"/pipeline/jobs/{world.put(status=JobStatus.COMPLETED).job_id}"
        etag = client.get(path).headers["ETag"]
        for headers, query, wanted in (
            ({"If-None-Match": etag}, "", 304), ({}, "", 200), ({}, "?includ=history", 400), ({}, "?include=no", 422), ({}, "", 200),
            ({"If-None-Match": "other"}, "", 200), ({"If-None-Match": etag}, "?&", 304), ({}, "?include=history&include=history", 200),
        ):  # fmt: skip
            assert client.get(path + query, headers=headers).status_code == wanted, (headers, query)

    def test_head_is_a_get_without_its_body(self, client: FlaskClient, world: World) -> None:
        path = f"/pipeline/jobs/{world.put(status=JobStatus.COMPLETED).job_id}"
        whole, head = client.get(path), client.head(path)
        assert (head.status_code, head.data) == (200, b"")
        assert [head.headers[name] for name in ("Content-Length", "ETag")] == [str(len(whole.data)), whole.headers["ETag"]]


def _read(read: Callable[[Request], MapAdapter | None], asked: Request) -> dict[str, Any]:
    """What is known of the address; of one that is refused, the error."""
    try:
        return vars(read(asked))
    except HTTPException as error:
        return {"refused": type(error)}
