"""The HTTP API, Flower and Prometheus over a real worker: one truth, told alike."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline_jobs.states import JobStatus
from tests.acceptance.publishes import MODULE, TEXT
from tests.bodies import HOLD
from tests.stack import Api, MakeStack, Stack
from tests.waiting import until


@pytest.fixture(scope="module")
def all_parts(make_shared_stack: MakeStack) -> tuple[Stack, Api, Api]:
    """The API, Flower and a worker, for the tests that end none of them."""
    stack = make_shared_stack()
    api, flower = stack.api(), stack.flower()
    # An event that is sent before Flower listens is an event that it never saw.
    until(lambda: stack.client.store.client.pubsub_numpat(), "Flower to listen")
    stack.worker("jobs", "-E", "--autoscale=2,2")
    return stack, api, flower


@pytest.fixture
def stack(all_parts: tuple[Stack, Api, Api]) -> Iterator[Stack]:
    yield all_parts[0]
    all_parts[0].cancel_all()


@pytest.fixture
def api(all_parts: tuple[Stack, Api, Api]) -> Api:
    return all_parts[1]


@pytest.fixture
def flower(all_parts: tuple[Stack, Api, Api]) -> Api:
    return all_parts[2]


def create(api: Api, **fields: object) -> dict[str, object]:
    answer = api.post("/pipeline/jobs", {"pipeline": "sleep", **fields})
    assert answer.status_code == 201, answer.text
    body: dict[str, object] = answer.json()
    return body


def test_a_job_from_post_to_deleted(stack: Stack, api: Api) -> None:
    job = create(api, pipeline="hold", params={"words": 4, "echo": "é"}, tenant_id="of-one-job", tags=["x"])
    path = f"/pipeline/jobs/{job['job_id']}"
    assert re.fullmatch(r"job_\d+_[0-9a-f]{8}", str(job["job_id"]))
    assert (job["status"], job["progress"], job["result"]) == ("queued", 0.0, None)
    for word in range(4):
        # Each step is seen before the next one is made: progress is written at intervals, the last value of each.
        until(lambda word=word: api.get(path).json()["message"] == f"{word} of 4 words", "the progress")
        stack.tell(str(job["job_id"]))
    until(lambda: api.get(path).json()["status"] == "completed", "the end")
    log = api.get(f"{path}/events").json()
    kinds = [event["type"].removeprefix("job.") for event in log["events"]]
    assert (kinds[:3], kinds[-1], log["complete"]) == (["created", "started", "stage"], "completed", True)
    begun = [event["data"]["stage"] for event in log["events"] if event["type"] == "job.stage"]
    assert begun == [stage.name for stage in HOLD.stages]
    told = [event["data"]["progress"] for event in log["events"]]
    assert (told, told[-2:]) == (sorted(told), [100.0, 100])
    assert len(set(told)) >= 5
    body = api.get(path).json()
    assert body["result"] == {"success": True, "data": {**body["result"]["data"], "echo": "é"}}
    assert body["created_at"] < body["started_at"] < body["completed_at"] < body["expires_at"]
    assert stack.app.AsyncResult(str(job["job_id"])).result == body["result"]
    assert [one["job_id"] for one in api.get("/pipeline/jobs?tenant_id=of-one-job&status=completed").json()["jobs"]] == [job["job_id"]]
    assert api.delete(path).json() == {"job_id": job["job_id"], "status": "deleted"}
    assert (api.get(path).status_code, api.delete(path).status_code) == (404, 404)


def test_run_waits_for_the_result_or_hands_over_the_job(stack: Stack, api: Api) -> None:
    done = api.post("/pipeline/run", {"pipeline": "sleep", "params": {"echo": 7}, "timeout": 30})
    assert (done.status_code, done.json()["success"], done.json()["data"]["echo"]) == (200, True, 7)
    failed = api.post("/pipeline/run", {"pipeline": "sleep", "params": {"fail": "no luck"}, "timeout": 30})
    assert (failed.status_code, failed.json()["success"], failed.json()["error"]) == (200, False, "no luck")
    later = api.post("/pipeline/run", {"pipeline": "sleep", "params": {"seconds": 600}, "timeout": 0.2})
    assert (later.status_code, later.headers["Location"]) == (202, f"/pipeline/jobs/{later.json()['job_id']}")
    assert api.delete(later.headers["Location"]).json()["status"] == "cancelled"
    stack.until_status(later.json()["job_id"], JobStatus.CANCELLED)


def test_with_the_queue_off_run_works_in_process_without_any_server(make_stack: MakeStack) -> None:
    stack = make_stack(enable_job_queue=False, redis_url="redis://127.0.0.1:1/0")
    api = stack.api()
    done = api.post("/pipeline/run", {"pipeline": "sleep", "params": {"echo": 7}})
    assert (done.status_code, done.json()["data"]["echo"]) == (200, 7)
    off = api.post("/pipeline/jobs", {"pipeline": "sleep"})
    assert off.status_code == 404
    assert "ENABLE_PIPELINE_JOB_QUEUE" in off.json()["detail"]


def test_with_the_queue_off_and_no_key_set_links_are_good_in_every_process_and_after_a_restart(make_stack: MakeStack) -> None:
    stack = make_stack(enable_job_queue=False, redis_url="redis://127.0.0.1:1/0", secret_key="", modules=MODULE)
    apis = [stack.api() for _ in range(2)]
    links = []
    for api in apis:
        done = api.post("/pipeline/run", {"pipeline": "note"})
        assert done.status_code == 200, done.text
        links.append(urlsplit(done.json()["data"]["link"]))
    apis.append(stack.api())
    for link in links:
        path = f"{link.path}?{link.query}"
        assert [api.get(path).text for api in apis] == [TEXT] * 3
        # Not the last character: of its six bits two are nothing of the signature.
        signed, _, signature = path.rpartition("=")
        assert apis[0].get(f"{signed}={'B' if signature[0] == 'A' else 'A'}{signature[1:]}").status_code == 404
    kept = stack.settings.data_dir / "signing-key"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_with_the_store_away_the_api_says_503_and_recovers(make_stack: MakeStack) -> None:
    stack = make_stack(redis_url="redis://127.0.0.1:1/0")
    api = stack.api()
    refused = api.post("/pipeline/jobs", {"pipeline": "sleep"})
    assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
    assert int(refused.headers["Retry-After"]) > 0
    ready = api.get("/health/ready")
    assert ready.status_code == 503
    assert api.get("/metrics?scope=all").status_code == 503
    assert (api.get("/health/accept").status_code, api.get("/health/live").status_code) == (503, 200)
    assert api.get("/health/installation").json()["conditions"][0]["condition"] == "store_away"


def test_readiness_names_what_is_missing_until_all_is_there(make_stack: MakeStack) -> None:
    stack = make_stack()
    api = stack.api()
    assert api.get("/health/ready").status_code == 503
    assert "no live worker" in api.get("/health/ready").text
    stack.together(stack.maintenance, partial(stack.worker, "jobs", "--autoscale=2,1"))
    until(lambda: api.get("/health/ready").status_code == 200, "readiness")


def test_metrics_count_what_happened_over_processes_and_restarts(make_stack: MakeStack) -> None:
    stack = make_stack()
    worker = stack.worker("jobs", "--autoscale=2,1")
    api = stack.api()
    good = [create(api, tenant_id="acme", workspace_id="blog")["job_id"] for _ in range(3)]
    bad = create(api, tenant_id="acme", workspace_id="blog", params={"fail": "x"})["job_id"]
    for job_id in good:
        stack.until_status(str(job_id), JobStatus.COMPLETED)
    stack.until_status(str(bad), JobStatus.FAILED)
    worker.terminate()
    worker.wait()
    again = stack.api()
    for scraped in (api, again):
        values = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(scraped.get("/metrics?scope=all").text)
            for sample in family.samples
        }
        where = (("tenant", "acme"), ("workspace", "blog"))
        assert values[("pipeline_jobs_created_total", *where)] == 4
        assert values[("pipeline_jobs_completed_total", ("status", "completed"), *where)] == 3
        assert values[("pipeline_jobs_completed_total", ("status", "failed"), *where)] == 1
        assert values[("pipeline_job_duration_seconds_count", *where)] == 4
        assert values[("pipeline_job_wait_seconds_bucket", ("le", "+Inf"), *where)] == 4
        assert values[("pipeline_jobs_running",)] == 0


def test_flower_shows_whose_job_it_is_and_its_revoke_cancels(stack: Stack, flower: Api) -> None:
    job = stack.submit(params={"seconds": 600, "steps": 6000}, tenant_id="acme", workspace_id="blog")
    stack.until_status(job.job_id, JobStatus.RUNNING)
    task = until(
        lambda: flower.get(f"/api/task/info/{job.job_id}").ok and flower.get(f"/api/task/info/{job.job_id}").json(), "Flower to know it"
    )
    assert "'tenant': 'acme', 'workspace': 'blog', 'pipeline': 'sleep'" in task["kwargs"]
    assert flower.post(f"/api/task/revoke/{job.job_id}?terminate=true", {}).ok
    ended = stack.until_status(job.job_id, JobStatus.CANCELLED)
    assert (ended.tenant_id, ended.workspace_id) == ("acme", "blog")
    until(lambda: flower.get(f"/api/task/info/{job.job_id}").json()["state"] == "REVOKED", "Flower to say REVOKED")
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)


def test_flowers_async_apply_makes_a_proper_job(stack: Stack, flower: Api) -> None:
    body = {"kwargs": {"pipeline": "sleep", "params": {"echo": 3}, "tenant_id": "acme"}}
    answer = flower.post("/api/task/async-apply/pipeline_jobs.run_job", body)
    assert answer.ok, answer.text
    ended = stack.until_status(answer.json()["task-id"], JobStatus.COMPLETED)
    assert (ended.tenant_id, ended.result["data"]["echo"]) == ("acme", 3)

    def seen() -> bool:
        # A worker's events go out ten times a second: until then Flower knows of no such task, in plain text.
        told = flower.get(f"/api/task/info/{ended.job_id}")
        return told.ok and told.json().get("state") == "SUCCESS"

    until(seen, "Flower to say SUCCESS")


@pytest.mark.parametrize(
    ("end", "word"),
    [("fail", "FAILURE"), ("retry", "SUCCESS"), ("cancel queued", "REVOKED"), ("crash", "FAILURE")],
)
def test_flower_tells_the_truth_about_each_end(stack: Stack, flower: Api, end: str, word: str) -> None:
    params = {
        "fail": {"fail": "x"},
        "retry": {"fail": "x", "fail_times": 1, "retryable": True},
        "cancel queued": {},
        "crash": {"crash": True},
    }[end]
    if end == "cancel queued":
        # One for each slot.
        for held in [stack.hold().job_id for _ in range(2)]:
            stack.until_status(held, JobStatus.RUNNING)
    job = stack.submit(params=params, max_attempts=2)
    if end == "cancel queued":
        stack.app.AsyncResult(job.job_id).revoke()
    stack.until_status(job.job_id, *(status for status in JobStatus if status not in (JobStatus.QUEUED, JobStatus.RUNNING)))

    def said() -> bool:
        answer = flower.get(f"/api/task/info/{job.job_id}")
        return bool(answer.ok and answer.json()["state"] == word)

    until(said, f"Flower to say {word}")
