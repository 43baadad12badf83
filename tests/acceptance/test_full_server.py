"""A server that is full, and one that is away for some seconds: said to clients, survived by workers. In full: `tests/heavy`."""

from __future__ import annotations

from functools import partial

import pytest
from redis.exceptions import OutOfMemoryError

from pipeline_jobs.states import JobStatus
from tests.heavy.bodies import MODULE
from tests.heavy.servers import run_away, run_full
from tests.integration.recount import differences
from tests.servers import Server
from tests.stack import Api, MakeStack
from tests.waiting import until


def submitted(api: Api, job: object) -> str | None:
    """Its id, if it was accepted."""
    answer = api.post("/pipeline/jobs", job)
    return str(answer.json()["job_id"]) if answer.status_code == 201 else None


def test_on_a_full_server_new_jobs_are_refused_running_ones_end_and_no_worker_dies(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, modules=MODULE, max_concurrent_jobs=4, hint_seconds=2.0)
    *_, api = stack.together(stack.maintenance, partial(stack.worker, "jobs", "--autoscale=4,4"), stack.api)
    figures = run_full(stack, own, api, running=4, waiting=6, posts=5)
    assert figures.wrong == []
    assert set(figures.answers) <= {"503 store_unavailable", "503 store_full"}
    assert figures.crashed == 0


def test_with_the_server_away_for_ten_seconds_every_job_completes_and_the_workers_come_back(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url, modules=MODULE, max_concurrent_jobs=4, lease_seconds=30.0)
    *_, api = stack.together(stack.maintenance, partial(stack.worker, "jobs", "--autoscale=4,4"), stack.api)
    figures = run_away(stack, own, api, jobs=8, seconds=10)
    assert figures.wrong == []
    assert set(figures.answers) == {"503 store_unavailable"}


def test_one_that_fills_the_memory_is_refused_alone_and_after_the_memory_was_full_nothing_accepted_is_lost(
    make_stack: MakeStack, own: Server
) -> None:
    """Really full: by batches that a greedy tenant sends and cancels, then by what is nobody's."""
    stack = make_stack(redis_url=own.url, max_concurrent_jobs=2, job_ttl_seconds=3600, cleanup_seconds=3600)
    _, api = stack.together(partial(stack.worker, "jobs", "--autoscale=2,2"), stack.api)
    accepted = {"running": stack.hold(tenant_id="b").job_id}
    until(lambda: stack.running() == 1, "the job to run")
    with own.client() as client:
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + 24_000_000)
        late = {"pipeline": "sleep", "run_at": "2099-01-01T00:00:00Z"}
        batch = {"tenant_id": "greedy", "jobs": [{**late, "metadata": {"n": "n" * 4000}}] * 200}

        def greedy() -> str:
            """One more batch, cancelled at once. :return: why it was refused."""
            answer = api.post("/pipeline/batches", batch)
            if answer.status_code == 201:
                assert api.post(f"/pipeline/batches/{answer.json()['batch_id']}/cancel", None).status_code == 200
                return ""
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (429, True)
            return str(answer.json()["code"])

        def other(number: int) -> None:
            answer = api.post("/pipeline/jobs", {"tenant_id": "b", **late})
            assert answer.status_code == 201, answer.text
            accepted[f"beside {number}"] = answer.json()["job_id"]

        for number in range(60):
            why = greedy()
            other(number)
            if why == "memory_full":
                break
        assert why == "memory_full"
        for number in range(60, 70):
            assert greedy() in ("", "memory_full")
            other(number)
        memory = client.info("memory")
        assert memory["used_memory"] < 0.9 * memory["maxmemory"]
        # Now all of it: what is nobody's takes the rest, and more.
        limit = int(memory["maxmemory"])
        client.execute_command("SETRANGE", "filler", limit, "x")
        with pytest.raises(OutOfMemoryError):
            client.set("one more", "x")
        until(lambda: api.post("/pipeline/jobs", {"tenant_id": "b", "pipeline": "sleep"}).status_code == 503, "the memory to be full")
        # Full as it is it starts anew: whoever connects to it again is refused what it writes.
        own.kill()
        own.start(maxmemory=str(limit))
        until(lambda: "used memory" in stack.log("jobs").partition("Connection to broker lost")[2], "the worker to be refused")
        stack.tell(accepted["running"])
        stack.until_status(accepted["running"], JobStatus.COMPLETED)
        client.delete("filler")
        # The worker has to be back as well.
        last = until(lambda: submitted(api, {"tenant_id": "b", "pipeline": "sleep"}), "the service to be back")
        stack.until_status(last, JobStatus.COMPLETED)
    for name, job_id in accepted.items():
        expected = "completed" if name == "running" else "queued"
        assert api.get(f"/pipeline/jobs/{job_id}").json()["status"] == expected, name
    assert differences(stack.client.store) == []
    assert [process.poll() for process in stack._processes] == [None] * len(stack._processes)
