"""HTTP requests in the metrics: by the rule of their URL, never by what a client wrote."""

from __future__ import annotations

from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from .world import World


def samples(client: FlaskClient, name: str) -> dict[tuple[str, ...], float]:
    """Its values by their labels' values, in the order of the labels' names; without those of this very question."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == name and sample.labels["route"] != "/metrics"
    }


def test_requests_are_counted_by_route_and_status(client: FlaskClient, world: World) -> None:
    made = client.post("/pipeline/jobs", json={"pipeline": "sleep"}).get_json()["job_id"]
    for path in (f"/pipeline/jobs/{made}", "/pipeline/jobs/job_1_00000000", "/pipeline/jobs/job_2_00000000", "/nothing/1", "/nothing/2"):
        client.get(path)
    client.open("/pipeline/jobs", method="BREW")
    assert samples(client, "pipeline_http_requests_total") == {
        ("201", "POST", "/pipeline/jobs"): 1,
        ("200", "GET", "/pipeline/jobs/<job_id>"): 1,
        ("404", "GET", "/pipeline/jobs/<job_id>"): 2,
        ("404", "GET", "_none"): 2,
        ("405", "_other", "_none"): 1,
    }
    took = samples(client, "pipeline_http_request_duration_seconds_count")
    assert took == {("POST", "/pipeline/jobs"): 1, ("GET", "/pipeline/jobs/<job_id>"): 3, ("GET", "_none"): 2, ("_other", "_none"): 1}


def test_refusals_are_counted_by_their_code(client: FlaskClient, world: World) -> None:
    client.post("/pipeline/jobs", json={"pipeline": "sleep", "priority": 1000})
    client.post("/pipeline/jobs", data="x", content_type="text/plain")
    client.get("/pipeline/jobs/job_1_00000000")
    world.lose_store()
    client.get("/pipeline/jobs/job_1_00000000")
    assert samples(client, "pipeline_http_refusals_total") == {
        ("invalid_input", "POST", "/pipeline/jobs"): 1,
        ("unsupported_media_type", "POST", "/pipeline/jobs"): 1,
        ("unknown_job", "GET", "/pipeline/jobs/<job_id>"): 1,
        ("store_unavailable", "GET", "/pipeline/jobs/<job_id>"): 1,
    }
