"""A wrong setting is told without what is secret in it, and no setting of tracing ends what it should only watch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.operation.effective import masked
from pipeline_jobs.settings import load_settings


@pytest.mark.parametrize("url", ["redis://default:can/ary@host:6379/0", "redis://:canary℀w@host:6379/0"])
def test_no_part_of_a_password_is_in_the_error(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"PIPELINE_REDIS_URL": url})
    assert "can" not in refused.value.message.replace("characters", "")
    assert refused.value.message.startswith("PIPELINE_REDIS_URL")


@pytest.mark.parametrize(
    "text", ["amqp://u:canary@a//", "amqp://u:one@a;amqp://u:canary@b", "redis://:can/canary@host/0", "https://a/b?sig=canary"]
)
def test_no_password_is_shown(text: str) -> None:
    assert "canary" not in masked(text)
    assert masked(text).startswith(text[:7])


def test_what_has_no_password_is_shown_as_it_is() -> None:
    assert [masked(text) for text in ("redis://127.0.0.1:6379/0", "file:///srv/a", "info", "")] == [
        "redis://127.0.0.1:6379/0", "file:///srv/a", "info", "",
    ]  # fmt: skip


def test_a_variable_that_opentelemetry_refuses_ends_nothing() -> None:
    code = "from pipeline_jobs.tracing import spans\nwith spans.root('x'): print('ran')\nprint(spans.on())"
    wrong = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_MAX_QUEUE_SIZE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env={"PATH": "", **wrong}, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-2:] == ["ran", "False"], done.stderr
