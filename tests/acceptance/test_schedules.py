"""Schedules over real processes: beat ticks, two maintenance workers fire, a worker runs the job, the command line sees it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

from pipeline_jobs.access import audit
from pipeline_jobs.states import JobStatus
from tests.stack import MakeStack
from tests.waiting import until


def test_beat_fires_a_slot_that_passed_once_and_its_job_runs(make_stack: MakeStack) -> None:
    stack = make_stack(fire_seconds=0.25)
    api = stack.api()
    body = {"cron": "0 0 1 1 *", "timezone": "Pacific/Apia", "catch_up": "last", "tenant_id": "acme", "job": {"pipeline": "sleep"}}
    answer = api.post("/pipeline/schedules", body)
    assert answer.status_code == 201, answer.text
    schedule_id = answer.json()["schedule_id"]
    stack.together(stack.worker, stack.maintenance, partial(stack.maintenance_worker, "maintenance2"))
    # Its slots are years apart: the last one is made to be due, as if nobody had been there to fire it.
    store = stack.client.store
    slot = 1_700_000_000_000
    store.client.hset(store.keys("schedule", schedule_id), "next_run_at", slot)
    store.client.zadd(store.keys("schedules_due"), {schedule_id: slot})

    def fired() -> dict[str, object] | None:
        seen: dict[str, object] = api.get(f"/pipeline/schedules/{schedule_id}").json()
        return seen if seen["fired"] else None

    seen = until(fired, "the schedule to fire")
    assert isinstance(seen, dict)
    job = stack.until_status(str(seen["last_job_id"]), JobStatus.COMPLETED)
    assert (job.tenant_id, job.tags) == ("acme", (f"schedule:{schedule_id}",))
    # Two slots of New Year have passed since: the older ones are said to be missed.
    assert [one["outcome"] for one in seen["recent"]] == ["fired", "missed"]  # type: ignore[attr-defined]
    assert str(seen["next_run_at"]) > "2026"
    assert 'pipeline_schedule_slots_total{outcome="fired",tenant="acme",workspace="main"} 1.0' in api.get("/metrics?scope=all").text

    paused = stack.celery("jobs", "schedules", "pause", schedule_id)
    assert (paused.returncode, "is paused" in paused.stdout) == (0, True), paused.stderr
    by_hand = stack.celery("jobs", "schedules", "run", schedule_id)
    assert stack.until_status(by_hand.stdout.strip(), JobStatus.COMPLETED).tenant_id == "acme"
    listed = stack.celery("jobs", "schedules", "list", "--tenant", "acme").stdout
    assert (schedule_id in listed, "paused" in listed, by_hand.stdout.strip() in listed) == (True, True, True)
    assert "is next at" in stack.celery("jobs", "schedules", "resume", schedule_id).stdout
    unknown = stack.celery("jobs", "schedules", "pause", "sch_1_00000000")
    assert (unknown.returncode, "There is no schedule" in unknown.stderr) == (1, True)
    actions = [row.action for row in audit.page(store).items]
    assert actions == ["schedule.resumed", "schedule.run", "schedule.paused", "schedule.created"]


def test_many_requests_with_one_key_make_one_schedule_and_one_run_and_runs_keep_to_the_senders_rate(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(submit_rate_per_key=0.001)
    api = stack.api()
    body, key = {"cron": "0 0 1 1 *", "tenant_id": "acme", "job": {"pipeline": "sleep"}}, {"Idempotency-Key": "k"}
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda _: api.post("/pipeline/schedules", body, headers=key), range(64)))
        path = made[0].headers["Location"]
        runs = list(threads.map(lambda _: api.post(path + "/run", None, headers=key), range(64)))
    for answers in (made, runs):
        assert {answer.status_code for answer in answers} == {201}, answers[0].text
        assert len({answer.headers["Location"] for answer in answers}) == 1
        assert [answer.headers.get("Idempotent-Replayed") for answer in answers].count(None) == 1
    assert [one["outcome"] for one in api.get(path).json()["recent"]] == ["manual"]
    # Schedules are no jobs, and of the runs only the one that made a job cost anything: all that this sender has for 1000 s.
    first = next(answer for answer in runs if "Idempotent-Replayed" not in answer.headers)
    assert (first.headers["RateLimit-Policy"], first.headers["RateLimit"]) == ('"address";q=1;w=1000', '"address";r=0;t=1000')
    refused = api.post(path + "/run", None)
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 900 <= int(refused.headers["Retry-After"]) <= 1000
    assert refused.headers["RateLimit"].startswith('"address";r=0;t=')
    assert [row.action for row in audit.page(stack.client.store).items] == ["schedule.run", "schedule.created"]
