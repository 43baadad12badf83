"""The three longest of an operator's tasks, typed as those of test_tasks.py are: an installation is started by hand and ended, a version
replaces another and goes again, workers and APIs are added. Each starts many processes that no test shares: `make tasks`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline_jobs.operation.roll import roll
from pipeline_jobs.states import JobStatus
from tests.acceptance.signals import until_well
from tests.acceptance.test_tasks import until_up, url_of
from tests.former import other_version
from tests.hands import CLI, MISSING_CLI, Hands, Typed
from tests.stack import Api, MakeStack, Stack, free_port
from tests.task_pages import task
from tests.waiting import until

#: How long a process may take to end and another one to start in its place, in seconds.
STARTS_SECONDS = 180
pytestmark = pytest.mark.skipif(CLI is None, reason=MISSING_CLI)


def test_an_installation_is_started_by_hand_and_ended(make_stack: MakeStack, tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("http_port", "metrics_port")}
    port, folder = free_port(), tmp_path / "server"
    folder.mkdir()
    stack = make_stack(redis_url=url_of(port), http_workers=1, **ports)
    hands, by_hand = Hands(stack), task("deploy", "By hand, on one machine")
    server, key, *processes = by_hand.steps
    started = hands.take(server, FOLDER=str(folder), PORT=str(port))
    until_up(port, started)
    assert hands.run(key).strip()
    typed = [hands.take(text, FOLDER=str(folder)) for text in processes]
    api = Api(f"http://127.0.0.1:{ports['http_port']}")
    until(lambda: all_run(typed) and api.alive("/health/ready"), "the installation to be ready", STARTS_SECONDS)
    hands.run(by_hand.worked[0], API=api.url)
    hands.run(by_hand.undo[0], PIDS=" ".join(str(one.pid) for one in typed))
    until(lambda: started.process.poll() is not None, "the server to end")
    assert not api.alive("/health/live")


def all_run(typed: Sequence[Typed]) -> bool:
    for one in typed:
        one.check()
    return True


class Fleet:
    """Four processes of a version, each replaced by one of another."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.typed = stack, dict[str, Typed]()
        self.given = {"jobs": {"WORKER": "jobs@test"}, "maintenance": {"WORKER": "maintenance@test"}, "beat": {"FOLDER": str(stack.folder)}}

    def start(self, name: str, text: str, hands: Hands) -> None:
        pid = {"PID": str(self.typed[name].pid)} if name in self.typed else {}
        self.typed[name] = hands.take(text, **self.given.get(name, {}), **pid)

    def versions(self) -> dict[str, str]:
        """As `jobs workers` has them."""
        self.stack.reap()
        return {row.kind: row.version for row in roll(self.stack.client.store) if row.state != "lost"}

    def until_of(self, version: str, *kinds: str) -> None:
        def there() -> bool:
            all_run(list(self.typed.values()))
            found = self.versions()
            return all(found.get(kind) == version for kind in kinds)

        until(there, f"{kinds} of {version}", STARTS_SECONDS)


def test_a_version_replaces_another_and_goes_again(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(http_port=free_port(), http_workers=1)
    hands, old = Hands(stack), Hands(stack, other_version(tmp_path / "before"))
    fleet, api = Fleet(stack), Api(f"http://127.0.0.1:{stack.settings.http_port}")
    upgrade = task("upgrade", "Upgrade, and roll back")
    names = ("jobs", "maintenance", "beat", "api")
    steps = dict(zip(names, upgrade.steps, strict=True))
    for name in names:
        fleet.start(name, steps[name].splitlines()[-1], old)
    job = stack.hold()
    stack.until_status(job.job_id, JobStatus.RUNNING)
    fleet.until_of(before := fleet.versions()["jobs"], *names)
    for name in names:
        fleet.start(name, steps[name], hands)
        until(lambda name=name: fleet.versions().get(name, before) != before, f"{name} of the new version", STARTS_SECONDS)
    # It was given back, and goes on in the new version.
    stack.tell(job.job_id)
    assert stack.until_status(job.job_id, JobStatus.COMPLETED).crashes == 0
    until_well(api)
    hands.run(upgrade.worked[0])
    for name, text in zip(("api", "jobs"), upgrade.undo, strict=True):
        fleet.start(name, text, old)
        fleet.until_of(before, name)
    stack.until_status(stack.submit(params={"seconds": 0}).job_id, JobStatus.COMPLETED)


def test_more_workers_and_more_apis(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.worker("jobs", "--autoscale=1,1")
    hands, workers, apis = Hands(stack), task("scale-out", "More jobs at once"), task("scale-out", "More requests")
    given = {"WORKER": "more@test", "PORT": str(free_port())}
    more = hands.take(workers.steps[0], **given)
    held = [stack.hold().job_id for _ in range(4)]
    until(lambda: all_run([more]) and stack.running() == 4, "the new worker to run what the first has no slots for", STARTS_SECONDS)
    assert "more@test" in hands.run(workers.worked[0], **given)
    api = hands.take(apis.steps[0], **given)
    until(lambda: all_run([api]) and Api(f"http://127.0.0.1:{given['PORT']}").alive("/health/accept"), "the new API", STARTS_SECONDS)
    hands.run(apis.worked[0], **given)
    hands.run(apis.undo[0], PID=str(api.pid), **given)
    # Ended with its jobs running: they are given back, and the first worker goes on with one after the other.
    hands.run(workers.undo[0], PID=str(more.pid), **given)
    stack.tell(*held)
    for job_id in held:
        assert stack.until_status(job_id, JobStatus.COMPLETED).crashes == 0
