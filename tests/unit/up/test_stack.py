"""What the local stack starts, with which environment; and the embedded server for real."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import redis

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.up import stack
from pipeline_jobs.up.ports import choose_ports
from pipeline_jobs.up.readiness import ping, wait_until
from pipeline_jobs.up.supervisor import Supervisor


def settings(tmp_path: Path, **values: str) -> Settings:
    return load_settings({"PIPELINE_DATA_DIR": str(tmp_path / "data dir"), **values})


def argv(name: str, of: Settings) -> list[str]:
    return next(list(command.argv[2:]) for command in stack.processes(of) if command.name == name)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, None),
        ({"PIPELINE_REDIS_URL": "", "CELERY_BROKER_URL": ""}, None),
        ({"PIPELINE_REDIS_URL": "redis://store/1", "CELERY_BROKER_URL": "redis://broker/0"}, "redis://store/1"),
        ({"CELERY_BROKER_URL": "rediss://broker/0"}, "rediss://broker/0"),
        ({"CELERY_BROKER_URL": "amqp://broker//"}, None),
    ],
)
def test_a_server_that_is_named_is_used_instead_of_the_embedded_one(environ: dict[str, str], url: str | None) -> None:
    assert stack.external_store(environ) == url


def test_every_process_gets_the_flags_the_ports_and_the_store(tmp_path: Path) -> None:
    ports = {"PIPELINE_HTTP_PORT": 1234, "PIPELINE_FLOWER_PORT": 1235, "PIPELINE_REDIS_PORT": 1236}
    env = stack.environment({"ENABLE_PIPELINE_JOB_QUEUE": "0", "HOME": "/home/x"}, settings(tmp_path), ports)
    made = load_settings(env)
    assert (made.enable_job_queue, made.enable_run_api, made.allow_private_urls) == (True, True, True)
    assert (made.http_port, made.flower_port, made.redis_port) == (1234, 1235, 1236)
    assert made.redis_url == "redis://127.0.0.1:1236/0"
    assert made.broker_is_store
    assert made.data_dir == tmp_path / "data dir"
    assert env["HOME"] == "/home/x"
    assert made.api_metrics == "all"
    assert made.history_url == f"sqlite:///{tmp_path / 'data dir' / 'history.db'}"
    assert load_settings({**env, "PIPELINE_HISTORY_URL": ""}).history_url == ""
    assert load_settings(stack.environment({"PIPELINE_API_METRICS": "process"}, settings(tmp_path), ports)).api_metrics == "process"
    assert not {name for name in env if name.startswith("FLOWER_")}, "Flower has the login of its configuration"


def test_a_server_elsewhere_needs_no_port_here(tmp_path: Path) -> None:
    made = settings(tmp_path)
    assert "PIPELINE_REDIS_PORT" not in stack.wishes(made, embedded=False)
    env = stack.environment({"PIPELINE_REDIS_URL": "redis://store/1"}, made, {"PIPELINE_HTTP_PORT": 1, "PIPELINE_FLOWER_PORT": 2})
    assert env["PIPELINE_REDIS_URL"] == "redis://store/1"


def test_the_parts_and_their_queues(tmp_path: Path) -> None:
    made = settings(tmp_path, PIPELINE_MAX_CONCURRENT_JOBS="7", PIPELINE_FLOWER_PORT="1235")
    assert [command.name for command in stack.processes(made)] == ["api", "jobs", "maintenance", "beat", "flower", "metrics"]
    assert argv("jobs", made)[:8] == ["celery", "-A", "celery_app", "worker", "-n", "jobs@jobs-%h", "-E", "--autoscale=7,1"]
    assert argv("maintenance", made)[3:9] == ["worker", "-n", "maintenance@maintenance-%h", "-Q", "maintenance", "-c"]
    assert f"--schedule={tmp_path / 'data dir' / 'beat-schedule'}" in argv("beat", made)
    assert argv("flower", made)[-2:] == ["--address=127.0.0.1", "--port=1235"]
    assert argv("api", made)[0] == "gunicorn"
    assert argv("api", made)[-1] == "wsgi:app"


def test_it_runs_from_a_checkout_only(tmp_path: Path) -> None:
    stack_root = tmp_path / "site-packages"
    stack_root.mkdir()
    with pytest.raises(ConfigurationError, match=r"runs from a checkout .* has no celery_app\.py, wsgi\.py, flowerconfig\.py"):
        stack.check_root(stack_root)


def test_what_the_embedded_server_writes_is_for_its_owner_only(tmp_path: Path) -> None:
    made = settings(tmp_path)
    (made.data_dir / "redis").mkdir(parents=True, mode=0o755)
    stack.server(made)
    assert (made.data_dir / "redis").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"), ("example.org", "example.org")])
def test_ipv6_stands_in_brackets(host: str, shown: str) -> None:
    assert stack.bracketed(host) == shown


@pytest.mark.parametrize(
    ("machine", "container", "given"),
    [
        (512, "max", 256), (4096, "max", 1024), (65_536, "max", 2048), (65_536, "1073741824", 256), (2048, "9223372036854775807", 512),
        (4096, None, 1024),
    ],
)  # fmt: skip
def test_the_embedded_server_is_given_a_quarter_of_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, machine: int, container: str | None, given: int
) -> None:
    limit = tmp_path / "memory.max"
    if container is not None:
        limit.write_text(container + "\n")
    monkeypatch.setattr(stack, "CGROUP_LIMIT", limit)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": machine * 256}.__getitem__)
    assert stack.server_memory() == given * stack.MIB


def start_server(supervisor: Supervisor, made: Settings) -> redis.Redis:
    supervisor.start(stack.server(made))
    wait_until("the server", ping("127.0.0.1", made.redis_port), deadline=time.monotonic() + 20, alive=supervisor.check, tell=print)
    return redis.Redis(port=made.redis_port, decode_responses=True)


def test_the_embedded_server_is_durable_local_and_keeps_its_data(tmp_path: Path) -> None:
    port = choose_ports({"PIPELINE_REDIS_PORT": ("127.0.0.1", 0)})["PIPELINE_REDIS_PORT"]
    made = settings(tmp_path, PIPELINE_REDIS_PORT=str(port))
    first, second = (Supervisor(tmp_path / "logs", tmp_path, os.environ) for _ in range(2))
    try:
        with start_server(first, made) as client:
            asked = ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy", "hash-max-listpack-value", "save", "bind", "dir")
            told = {name: client.config_get(name)[name] for name in asked}
            client.set("kept", "yes")
        assert told == {
            "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "hash-max-listpack-value": "1024", "save": "",
            "bind": "127.0.0.1", "dir": str(tmp_path / "data dir" / "redis"), "maxmemory": str(stack.server_memory()),
        }  # fmt: skip
        first.children[0].popen.kill()
        first.children[0].popen.wait()
        with start_server(second, made) as client:
            assert client.get("kept") == "yes"
    finally:
        first.stop()
        second.stop()


def test_each_pool_that_the_settings_name_has_a_worker() -> None:
    commands = {one.name: one.argv for one in stack.processes(load_settings({"PIPELINE_POOL_CAPS": "gpu=2,tpu=0"}))}
    assert "tpu" not in commands
    gpu = commands["gpu"]
    assert (gpu[gpu.index("-Q") + 1], "--autoscale=2,1" in gpu, "-Q" in commands["jobs"]) == ("jobs.gpu", True, False)
