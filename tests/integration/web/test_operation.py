"""Health, metrics, the list of pipelines, the documentation."""

from __future__ import annotations

import re
import threading
from functools import reduce

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from pipeline_jobs.access.api_keys import Role
from pipeline_jobs.operation import health as health_of
from pipeline_jobs.operation.health import Acceptance
from pipeline_jobs.web.schemas import health, pipelines

from .checks import problem_of
from .world import World

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


class TestHealth:
    def test_live_asks_nobody(self, client: FlaskClient, world: World) -> None:
        world.lose_store()
        assert client.get("/health/live").get_json() == {"status": "ok"}

    def test_ready_shows_every_part(self, client: FlaskClient, world: World) -> None:
        world.store.announce("w1", 1, [])
        world.store.beat("rescue")
        response = client.get("/health/ready")
        health.Ready.model_validate(response.get_json())
        assert response.status_code == 200, response.text
        assert set(response.get_json()["parts"]) == {"store", "broker", "workers", "beat", "disk", "access"}

    def test_not_ready_names_the_part_and_why(self, client: FlaskClient, world: World) -> None:
        world.store.beat("rescue")
        response = client.get("/health/ready")
        body = problem_of(response, 503, "not_ready")
        assert body["detail"] == "workers: no live worker consumes the queue `jobs`"
        assert (body["parts"]["store"]["ok"], body["parts"]["workers"]["ok"]) == (True, False)
        assert "Retry-After" in response.headers


class TestAccept:
    def test_asks_for_neither_workers_nor_beat_nor_a_key(self, client: FlaskClient, world: World) -> None:
        world.keys.create("*", Role.ADMIN, actor="test")
        answer = client.get("/health/accept", environ_base={"REMOTE_ADDR": "203.0.113.9"})
        assert (answer.status_code, answer.data) == (200, b"")

    def test_is_503_without_a_body_while_the_store_is_away(self, client: FlaskClient, world: World) -> None:
        world.lose_store()
        answer = client.get("/health/accept")
        assert (answer.status_code, answer.data) == (503, b"")

    def test_is_503_while_the_queue_is_full(self, world: World) -> None:
        client = world.make_client(max_queued=1)
        assert client.get("/health/accept").status_code == 200
        world.put()
        client = world.make_client(max_queued=1)
        assert client.get("/health/accept").status_code == 503

    def test_is_503_while_the_servers_memory_is_full(self, world: World) -> None:
        world.store.client.config_set("maxmemory", "1mb")
        try:
            assert world.make_client().get("/health/accept").status_code == 503
        finally:
            world.store.client.config_set("maxmemory", "0")

    def test_without_the_queue_it_asks_no_store(self, world: World) -> None:
        world.lose_store()
        assert world.make_client(enable_job_queue=False).get("/health/accept").status_code == 200
        assert world.make_client(enable_job_queue=False, enable_run_api=False).get("/health/accept").status_code == 503

    def test_looks_once_a_second_however_many_ask(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        accepts = Acceptance(world.store, world.settings, world.cell.client.guard)
        looks: list[float] = []
        monkeypatch.setattr(accepts, "_look", lambda: looks.append(0.0) or True)
        monkeypatch.setattr(health_of, "ACCEPT_SECONDS", 1000.0)
        assert all(accepts() for _ in range(50))
        assert len(looks) == 1

    def test_says_no_while_a_look_hangs_and_holds_up_nobody(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        accepts = Acceptance(world.store, world.settings, world.cell.client.guard)
        assert accepts()
        monkeypatch.setattr(health_of, "ACCEPT_SECONDS", 0.0)
        looking, goes_on = threading.Event(), threading.Event()
        monkeypatch.setattr(accepts, "_look", lambda: looking.set() or goes_on.wait(60))
        hung = threading.Thread(target=accepts)
        hung.start()
        assert looking.wait(60)
        assert accepts(), "a moment ago it did"
        monkeypatch.setattr(health_of, "ACCEPT_HANGS_SECONDS", 0.0)
        assert not accepts()
        goes_on.set()
        hung.join()


class TestInstallation:
    def test_says_what_is_wrong_and_what_to_do(self, client: FlaskClient, world: World) -> None:
        world.store.beat("rescue")
        answer = client.get("/health/installation")
        body = health.Installation.model_validate(answer.get_json())
        assert (answer.status_code, body.status) == (200, "error")
        (error,) = [one for one in body.conditions if one.severity == "error"]
        assert (error.condition, error.part) == ("workers_away", "workers")
        assert not body.parts["workers"].ok
        assert "No worker takes jobs." in (body.parts["workers"].reason or "")
        assert body.parts["store"].warning, "maxmemory is 0"

    def test_with_the_store_away_that_is_what_is_wrong(self, client: FlaskClient, world: World) -> None:
        world.lose_store()
        body = client.get("/health/installation").get_json()
        assert [one["condition"] for one in body["conditions"]] == ["store_away"]


class TestMetrics:
    def test_are_prometheus_text(self, client: FlaskClient) -> None:
        response = client.get("/metrics?scope=all")
        assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
        names = {family.name for family in text_string_to_metric_families(response.text)}
        assert {"pipeline_jobs_queued", "pipeline_jobs_created", "pipeline_build_info"} <= names

    def test_what_every_replica_knows_is_shown_by_none_unless_it_is_asked(self, client: FlaskClient) -> None:
        own = {family.name for family in text_string_to_metric_families(client.get("/metrics").text)}
        store = {family.name for family in text_string_to_metric_families(client.get("/metrics?scope=store").text)}
        assert "pipeline_http_requests" in own
        assert own & store == {"pipeline_store_clock_ahead_seconds"}
        problem_of(client.get("/metrics?scope=everything"), 422, "invalid_input")

    def test_without_the_store_those_of_the_process_are_shown(self, client: FlaskClient, world: World) -> None:
        world.lose_store()
        problem_of(client.get("/metrics?scope=store"), 503, "store_unavailable")
        assert 'route="/metrics"' in client.get("/metrics").text


def test_pipelines_are_listed_with_the_schema_of_their_params(client: FlaskClient) -> None:
    response = client.get("/pipeline/pipelines")
    pipelines.PipelineList.model_validate(response.get_json())
    media, sleep = response.get_json()["pipelines"]
    assert (media["name"], media["needs_url"], media["qualities"]) == ("media", True, ["720p", "1080p"])
    more = {"on_error": "fail", "reuse": False, "max_attempts": 1, "timeout_seconds": None}
    assert media["stages"] == [{"name": "fetch", "weight": 2, **more}, {"name": "publish", "weight": 1.0, **more}]
    assert sleep["params"]["properties"]["seconds"]["maximum"] == 3600
    assert sleep["params"]["additionalProperties"] is False
    assert response.get_json()["missing"] == []


class TestDocument:
    def test_is_valid_openapi_3_1(self, client: FlaskClient) -> None:
        document = client.get("/openapi.json").get_json()
        assert document["openapi"] == "3.1.0"
        assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []

    def test_has_every_route(self, client: FlaskClient) -> None:
        document = client.get("/openapi.json").get_json()
        documented = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
        served = {
            (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
            for rule in client.application.url_map.iter_rules()
            if not rule.endpoint.startswith(("docs.", "swagger.", "site.", "ui."))
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        }
        assert documented == served

    def test_every_operation_has_its_errors_as_problems(self, client: FlaskClient) -> None:
        for path, item in client.get("/openapi.json").get_json()["paths"].items():
            for method, operation in item.items():
                errors = {status: body for status, body in operation["responses"].items() if status >= "400"}
                assert {"403", "500"} <= set(errors), f"{method} {path}"
                if path == "/health/accept":
                    # For probes, which read no body.
                    assert "content" not in errors.pop("503")
                assert all(body["content"] == PROBLEM and body["description"] for body in errors.values()), f"{method} {path}"
                assert operation["summary"]
                assert operation["description"]

    def test_every_reference_leads_somewhere(self, client: FlaskClient) -> None:
        response = client.get("/openapi.json")
        names = set(re.findall(r'"#/components/schemas/([^"]+)"', response.text))
        schemas = response.get_json()["components"]["schemas"]
        for name in names:
            assert reduce(lambda place, key: place[key], name.split("/"), schemas)
        assert "Problem" in names

    def test_it_has_the_params_of_each_pipeline(self, client: FlaskClient) -> None:
        schemas = client.get("/openapi.json").get_json()["components"]["schemas"]
        for pipeline in client.get("/pipeline/pipelines").get_json()["pipelines"]:
            assert schemas[f"params.{pipeline['name']}"]["properties"].keys() == pipeline["params"]["properties"].keys()


class TestPage:
    def test_everything_it_needs_is_served_from_here(self, client: FlaskClient) -> None:
        page = client.get("/docs")
        assert page.content_type.startswith("text/html")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert "openapi.json" in links
        assert len(links) >= 5
        for link in links:
            assert "//" not in link
            response = client.get(f"/{link}")
            assert (response.status_code, bool(response.data)) == (200, True), link
            response.close()

    def test_runs_no_script_of_its_own_text(self, client: FlaskClient) -> None:
        page = client.get("/docs")
        assert "script-src 'self';" in page.headers["Content-Security-Policy"]
        assert re.findall(r"<script(?![^>]*src=)", page.text) == []

    @pytest.mark.parametrize("path", ["/docs/static/missing.js", "/docs/static/../app.py", "/docs/swagger/..%2f__init__.py"])
    def test_serves_nothing_else(self, client: FlaskClient, path: str) -> None:
        problem_of(client.get(path), 404)
