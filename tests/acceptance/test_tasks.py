"""The commands of an operator's tasks (docs/howto), typed as they stand there, at a running installation: each task works, is seen to have
worked, and is undone. Those of containers are done by `make docker-test`, those of Kubernetes by `make chart`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline_jobs.exceptions import StoreUnavailable, UnknownJob
from pipeline_jobs.operation.roll import roll
from pipeline_jobs.states import JobStatus
from tests.acceptance.signals import until_well
from tests.former import other_version
from tests.hands import CLI, MISSING_CLI, Hands, Typed
from tests.servers import Server
from tests.stack import Api, Stack, free_port
from tests.task_pages import task
from tests.waiting import until

MakeStack = Callable[..., Stack]
#: How long a process may take to end and another one to start in its place, in seconds.
STARTS_SECONDS = 180
pytestmark = pytest.mark.skipif(CLI is None, reason=MISSING_CLI)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "own").start()
    yield server
    server.stop()


def url_of(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def until_up(port: int, typed: Typed) -> None:
    """Wait for a server that was started."""

    def answers() -> bool:
        typed.check()
        try:
            with redis.Redis(port=port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    until(answers, "the server")


def known(stack: Stack, *job_ids: str) -> list[bool]:
    """Which jobs the server has; none: it is not up."""

    def there(job_id: str) -> bool:
        try:
            return bool(stack.client.get(job_id))
        except UnknownJob:
            return False

    try:
        return [there(job_id) for job_id in job_ids]
    except StoreUnavailable:
        return []


def test_sizing(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url)
    stack.worker("jobs")
    hands, store, rest = Hands(stack), task("sizing", "Size the store"), task("sizing", "Size workers and APIs")
    said = hands.run(store.steps[0])
    assert ("maxmemory:0" in said, "aof_current_size:" in said) == (True, True)
    hands.run(store.worked[0])
    with own.client() as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(2 << 30)}
        hands.run(store.undo[0], BEFORE="0")
        assert client.config_get("maxmemory") == {"maxmemory": "0"}
    assert "jobs@test" in hands.run(rest.steps[0])
    hands.run(rest.worked[0])


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


SERVER = 'valkey-server --dir "$DATA" --port "$PORT" --appendonly yes --appendfsync always --save ""'


def test_a_backup_is_made_and_tried_and_put_back(make_stack: MakeStack, tmp_path: Path) -> None:
    port, scratch, data = free_port(), free_port(), tmp_path / "data"
    data.mkdir()
    stack = make_stack(redis_url=url_of(port))
    hands, given = Hands(stack), {"FOLDER": str(tmp_path), "DATA": str(data), "SCRATCH": str(tmp_path / "scratch")}

    def start() -> Typed:
        server = hands.take(SERVER, PORT=str(port), **given)
        until_up(port, server)
        return server

    def until_again(before: Typed, *there: bool) -> Typed:
        """As a supervisor does it: it has ended, and is started."""
        until(lambda: before.process.poll() is not None, "the server to end")
        after = start()
        until(lambda: known(stack, kept, later) == [*there], "what the server has")
        return after

    server, back_up = start(), task("backup", "Back up")
    kept = stack.submit().job_id
    hands.run(back_up.steps[0], **given)
    hands.run(back_up.worked[0], **given)
    later = stack.submit().job_id

    trial = task("backup", "Try a backup")
    until_up(scratch, hands.take(trial.steps[0], PORT=str(scratch), **given))
    said = hands.run(trial.worked[0], PORT=str(scratch), **given)
    assert (kept in said, later in said) == (True, False)
    hands.run(trial.undo[0], PORT=str(scratch), **given)

    restore = task("backup", "Restore")
    hands.run(restore.steps[0], **given)
    server = until_again(server, True, False)
    assert kept in hands.run(restore.worked[0], **given)
    hands.run(restore.undo[0], **given)
    until_again(server, True, True)
    hands.run(back_up.undo[0], **given)
    assert not (tmp_path / "store.rdb").exists()


def test_a_damaged_log_is_cut_off_before_the_damage(make_stack: MakeStack, own: Server) -> None:
    stack = make_stack(redis_url=own.url)
    first = stack.submit().job_id
    (log,) = (own.folder / "appendonlydir").glob("*.incr.aof")
    good = log.stat().st_size
    last = stack.submit().job_id
    own.kill()
    log.write_bytes(log.read_bytes()[:good] + b"this is no command\r\n" + log.read_bytes()[good:])
    hands, damaged = Hands(stack), task("disaster", "The log is damaged")
    given = {"FOLDER": str(own.folder), "PORT": str(own.port)}
    # It does not start by itself.
    refused = hands.take(damaged.steps[0].splitlines()[-1], **given)
    until(lambda: refused.process.poll() is not None, "the server to end")
    assert "Bad file format reading the append only file" in refused.said
    until_up(own.port, hands.take(damaged.steps[0], **given))
    assert first in hands.run(damaged.worked[0], **given)
    assert known(stack, first, last) == [True, False]
    hands.run(damaged.undo[0], **given)
    assert b"this is no command" in log.read_bytes()


def test_the_stores_machine_is_lost(make_stack: MakeStack, own: Server, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "new"
    folder.mkdir()
    before = make_stack(redis_url=own.url)
    kept = before.submit().job_id
    Hands(before).run(task("backup", "Back up").steps[0], FOLDER=str(tmp_path))
    own.kill()
    stack = make_stack(redis_url=url_of(port))
    hands, lost = Hands(stack), task("disaster", "The store's machine is lost")
    given = {"BACKUP": str(tmp_path / "store.rdb"), "FOLDER": str(folder), "PORT": str(port), "HOST": "127.0.0.1", "OLD": own.url}
    until_up(port, hands.take(lost.steps[0], **given))
    assert kept in hands.run(lost.worked[0], **given)
    stack.worker("jobs")
    stack.until_status(kept, JobStatus.COMPLETED)
    own.start()
    hands.run(lost.undo[0], **given)
    with own.client() as client:
        until(lambda: client.info("replication").get("master_link_status") == "up", "the old one to follow the new one")


def test_a_key_is_out(make_stack: MakeStack) -> None:
    stack = make_stack()
    hands, key = Hands(stack), task("disaster", "A key is out")
    made = hands.run("celery -A celery_app jobs key create --all-tenants --role admin --name old")
    (row,) = json.loads(hands.run("celery -A celery_app jobs key list --json"))
    assert row["name"] == "old", made
    said = hands.run(key.steps[0], NAME="new", KEY=row["key_id"])
    assert row["key_id"] in said
    audit = hands.run(key.worked[0])
    assert ("key.created" in audit, "key.revoked" in audit) == (True, True)
    hands.run(key.undo[0], NAME="new")
    rows: list[Any] = json.loads(hands.run("celery -A celery_app jobs key list --json"))
    assert {one["name"]: one["revoked"] for one in rows} == {"old": True, "new": False, "new-again": False}


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


def test_machines_for_some_pipelines(make_stack: MakeStack) -> None:
    stack = make_stack(modules="")
    stack.worker("jobs")
    hands, some = Hands(stack), task("scale-out", "Machines for some pipelines")
    module = "examples.demo_pipelines"
    given = {"WORKER": "some@test", "MODULES": module, "PIPELINE": "sleep", "PIPELINE_MODULES": module}
    typed = hands.take(some.steps[0], **given)
    assert "completed" in hands.run(some.worked[0], **given)
    hands.run(some.undo[0], PID=str(typed.pid), **given)


def test_another_cell(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack()
    hands, cell = Hands(stack), task("scale-out", "Another cell")
    server, worker = cell.steps
    port = free_port()
    given = {"FOLDER": str(tmp_path), "PORT": str(port)}
    started = hands.take(server, **given)
    until_up(port, started)
    typed = hands.take(worker, **given)
    hands.run(cell.worked[0], **given)
    # Nothing of it is in the first one.
    assert hands.run("celery -A celery_app jobs list --json").strip() == "[]"
    hands.run(cell.undo[0], PID=str(typed.pid), **given)
    until(lambda: started.process.poll() is not None, "the server to end")
