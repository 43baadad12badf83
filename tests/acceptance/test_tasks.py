"""The commands of an operator's tasks (docs/howto), typed as they stand there, at a running installation: each task works, is seen to have
worked, and is undone. The longest three are in bar_tasks.py (`make tasks`), those of containers are done by `make docker-test`, those of
Kubernetes by `make chart`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from pipeline_jobs.exceptions import StoreUnavailable, UnknownJob
from pipeline_jobs.states import JobStatus
from tests.hands import CLI, MISSING_CLI, Hands, Typed
from tests.servers import Server
from tests.stack import MakeStack, Stack, free_port
from tests.task_pages import task
from tests.waiting import until

pytestmark = pytest.mark.skipif(CLI is None, reason=MISSING_CLI)


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
