"""Two installations on one server under load: jobs, cancels, remote control and events of both at once, and what crossed: nothing.

python -m pytest -s tests/heavy/bar_installations.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_jobs.states import JobStatus
from tests.acceptance.test_two_installations import ABOUT, pair, watched
from tests.rabbit import PROGRAM, Rabbit
from tests.stack import MakeStack
from tests.waiting import until

#: Jobs of each; every tenth is cancelled.
JOBS = 500


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    if request.param == "redis":
        yield {}
        return
    node = Rabbit(tmp_path / "rabbit")
    try:
        yield {"broker_url_setting": node.start().url}
    finally:
        node.stop()


@pytest.mark.parametrize(
    "broker",
    ["redis", pytest.param("rabbitmq", marks=pytest.mark.skipif(PROGRAM is None, reason="apt install rabbitmq-server"))],
    indirect=True,
)
def test_under_load_nothing_crosses(make_stack: MakeStack, tmp_path: Path, broker: dict[str, str]) -> None:
    stacks = pair(make_stack, tmp_path, ("pj:", "east:"), max_concurrent_jobs=8, canary_seconds=0.5, **broker)
    for stack in stacks:
        stack.worker("one", "--autoscale=2,2")
        stack.worker("two", "--autoscale=2,2")
        stack.maintenance()
    with watched(stacks[0]) as first, watched(stacks[1]) as second:
        seen = (first, second)
        jobs: tuple[list[str], list[str]] = ([], [])
        answers: tuple[list[list[str]], list[list[str]]] = ([], [])
        for n in range(JOBS):
            for stack, ids in zip(stacks, jobs, strict=True):
                ids.append(stack.submit(params={"seconds": 0.02}).job_id)
                if n % 10 == 9:
                    stack.app.control.revoke(ids[-1])
            if n % 50 == 0:
                for stack, said in zip(stacks, answers, strict=True):
                    said.append(sorted(name for reply in stack.app.control.ping(timeout=2) for name in reply))
        for stack, ids in zip(stacks, jobs, strict=True):
            until(lambda stack=stack, ids=ids: all(stack.client.get(one).ended for one in ids), "all to end", seconds=600)
            assert {stack.client.get(one).status for one in ids} <= {JobStatus.COMPLETED, JobStatus.CANCELLED}
    ours = [{*ids, *stack.client.store.members("ended")} for stack, ids in zip(stacks, jobs, strict=True)]
    received = [{one for name in ("one", "two") for one in ABOUT.findall(stack.log(name))} for stack in stacks]
    told = [{event["uuid"] for event in events if event["type"].startswith("task-")} for events in seen]
    crossed = [len(received[0] & ours[1]) + len(received[1] & ours[0]), len(told[0] & ours[1]) + len(told[1] & ours[0])]
    wrong = [one for said in answers for one in said if one.count("one@test") > 1 or one.count("two@test") > 1 or len(one) > 3]
    print(
        f"\n{2 * JOBS} jobs, {sum(map(len, received))} named in logs, {sum(map(len, told))} told of; "
        f"crossed: {crossed}, wrong pings: {wrong}"
    )
    assert (crossed, wrong) == ([0, 0], [])
    assert all(received)
