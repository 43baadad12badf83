"""A wrong setting is told without what is secret in it, and no setting of tracing ends what it should only watch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.operation.effective import masked
from pipeline_jobs.settings import load_settings
from pipeline_jobs.tracing import spans
from pipeline_jobs.worker import own_metrics
from pipeline_jobs.worker.app import _check_broker
from pipeline_jobs.worker.own_metrics import OwnMetrics

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("url", ["redis://default:can/ary@host:6379/0", "redis://:canary℀w@host:6379/0"])
def test_no_part_of_a_password_is_in_the_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"PIPELINE_REDIS_URL": url})
    assert "can" not in refused.value.message.replace("characters", "")
    assert refused.value.message.startswith("PIPELINE_REDIS_URL")


@pytest.mark.parametrize("url", ["amqp://default:can/ary@host//", "amqp://u:canary℀w@host//", "nope://u:canary@host"])
def test_nor_in_that_of_a_broker(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        _check_broker(url)
    assert "can" not in refused.value.message.replace("cannot", "")
    assert refused.value.message.startswith("CELERY_BROKER_URL")


@pytest.mark.parametrize(
    "text",
    [
        "amqp://u:canary@a//",
        "amqp://u:one@a;amqp://u:canary@b",
        "amqp://u@a;amqp://u:canary@b",
        "redis://:can/canary@host/0",
        "https://a/b?sig=canary",
    ],
)
def test_no_password_is_shown(text: str) -> None:
    assert "canary" not in masked(text)
    assert masked(text).startswith(text[:7])


def started_in(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A process that says what two of its settings are."""
    code = (
        "from pipeline_jobs.settings import load_settings\nfrom pipeline_jobs.starting import one_line_errors\n"
        "with one_line_errors():\n    print(load_settings().http_port, load_settings().redis_port)"
    )
    rest = {name: value for name, value in os.environ.items() if name != "PYTHON_DOTENV_DISABLED"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**rest, "PYTHONPATH": str(ROOT), **env}, capture_output=True, text=True, check=False
    )


def test_a_file_of_variables_gives_what_the_environment_does_not(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# ports\nPIPELINE_HTTP_PORT=8123\nexport PIPELINE_REDIS_PORT='6123'\n")
    assert started_in(tmp_path, PIPELINE_REDIS_PORT="6124").stdout == "8123 6124\n"
    assert started_in(tmp_path, PYTHON_DOTENV_DISABLED="1").stdout == "8000 6399\n"


def test_a_file_of_variables_that_is_wrong_ends_the_process_with_one_line(tmp_path: Path) -> None:
    for text, said in (
        (b"PIPELINE_HTTP_PROT=1\n", "unknown setting PIPELINE_HTTP_PROT: did you mean"),
        (b"\xff\xfe=1\n", ".env cannot be read"),
    ):
        (tmp_path / ".env").write_bytes(text)
        done = started_in(tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert said in done.stderr


def test_what_has_no_password_is_shown_as_it_is() -> None:
    assert [masked(text) for text in ("redis://127.0.0.1:6379/0", "file:///srv/a", "info", "")] == [
        "redis://127.0.0.1:6379/0", "file:///srv/a", "info", "",
    ]  # fmt: skip


def test_a_port_of_metrics_that_is_taken_keeps_no_worker_from_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that stops has it until its last job has ended, and the next one is there already."""
    said: list[dict[str, object]] = []
    monkeypatch.setattr(own_metrics, "logger", SimpleNamespace(warning=lambda event, **fields: said.append({"event": event, **fields})))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = load_settings({"PIPELINE_WORKER_METRICS_PORT": str(taken.getsockname()[1])})
        metrics = OwnMetrics(SimpleNamespace(app=SimpleNamespace(cell=SimpleNamespace(settings=settings))))
        metrics.start()
    (line,) = said
    assert str(line["event"]).startswith("PIPELINE_WORKER_METRICS_PORT: this worker shows no metrics")
    assert metrics.stages.totals() == {}, "stages are counted all the same"


@pytest.mark.parametrize("module", ["opentelemetry.nothing", "nothing.at.all"])
def test_a_part_of_opentelemetry_that_is_missing_is_no_error(module: str) -> None:
    assert not spans._is_there(module)


def test_a_variable_that_opentelemetry_refuses_ends_nothing() -> None:
    code = "from pipeline_jobs.tracing import spans\nwith spans.root('x'): print('ran')\nprint(spans.on())"
    wrong = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_MAX_QUEUE_SIZE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env={"PATH": "", **wrong}, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-2:] == ["ran", "False"], done.stderr
