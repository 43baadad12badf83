"""Settings from the environment."""

from __future__ import annotations

import difflib
import random
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.settings import env_names, load_settings
from tests.cases import each


def test_the_defaults_are_the_briefs() -> None:
    settings = load_settings({})
    assert (settings.enable_job_queue, settings.enable_run_api) == (False, False)
    assert (settings.max_concurrent_jobs, settings.job_ttl_seconds) == (5, 3600)
    assert settings.allow_private_urls is False
    assert settings.broker_is_store


def test_values_come_from_the_environment_and_empty_means_default() -> None:
    settings = load_settings({"PIPELINE_MAX_CONCURRENT_JOBS": "9", "ENABLE_PIPELINE_JOB_QUEUE": "1", "PIPELINE_JOB_TTL_SECONDS": ""})
    assert (settings.max_concurrent_jobs, settings.enable_job_queue, settings.job_ttl_seconds) == (9, True, 3600)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIPELINE_KEY_PREFIX", ""),
        ("PIPELINE_REDIS_PORT", "tcp://10.96.0.7:6379"),
        ("REDIS_URL", "redis://elsewhere:1/0"),
        ("BROKER_URL_SETTING", "amqp://elsewhere"),
        ("UI", "0"),
    ],
)
def test_the_process_own_environment_is_read_by_the_same_rules(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Empty means default, what Kubernetes says is passed over, and what has not our prefix is another program's."""
    for known in env_names():
        monkeypatch.delenv(known, raising=False)
    monkeypatch.setenv(name, value)
    assert load_settings() == load_settings({})


def test_a_misspelt_name_is_refused_with_the_likely_one() -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_MAX_CONCURENT_JOBS: did you mean PIPELINE_MAX_CONCURRENT_JOBS"):
        load_settings({"PIPELINE_MAX_CONCURENT_JOBS": "9"})


def service(name: str, *ports: tuple[int, str, str]) -> dict[str, str]:
    """What Kubernetes puts into a pod's environment for a service: `(port, protocol, its name or "")` each."""
    stem = name.upper().replace("-", "_")
    host, (first, protocol, _) = "10.96.0.7", ports[0]
    found = {f"{stem}_SERVICE_HOST": host, f"{stem}_SERVICE_PORT": str(first), f"{stem}_PORT": f"{protocol}://{host}:{first}"}
    for port, kind, label in ports:
        long = f"{stem}_PORT_{port}_{kind.upper()}"
        found |= {long: f"{kind}://{host}:{port}", f"{long}_PROTO": kind, f"{long}_PORT": str(port), f"{long}_ADDR": host}
        if label:
            found[f"{stem}_SERVICE_PORT_{label.upper().replace('-', '_')}"] = str(port)
    return found


#: Services named as one would name ours; of some the `..._PORT` is the name of a setting.
SERVICES = (
    "pipeline", "pipeline-jobs", "pipeline-api", "pipeline-service", "pipeline-port", "pipeline-host", "enable-pipeline-x", "pipeline-8080",
    *(name.removesuffix("_PORT").lower().replace("_", "-") for name in env_names() if name.endswith("_PORT")),
)  # fmt: skip


@each("name", SERVICES)
def test_the_variables_of_kubernetes_services_are_passed_over(name: str) -> None:
    draw = random.Random(name)
    for _ in range(20):
        ports = draw.sample(range(1, 65536), 3)
        kinds = [(port, draw.choice(("tcp", "udp", "sctp")), draw.choice(("", "http", "amqp-tls"))) for port in ports]
        assert load_settings(service(name, *kinds)) == load_settings({})
    ipv6 = {f"{name.upper().replace('-', '_')}_PORT": "tcp://[fd00::7]:6379"}
    assert load_settings(ipv6) == load_settings({})


def test_a_setting_that_a_service_has_the_name_of_can_still_be_set_and_be_wrong() -> None:
    assert load_settings({**service("pipeline-redis", (6379, "tcp", "")), "PIPELINE_REDIS_PORT": "7000"}).redis_port == 7000
    for value in ("tcp://", "tcp://10.0.0.1", "http://10.0.0.1:80", "10.0.0.1:80", "tcp://10.0.0.1:80/x"):
        with pytest.raises(ConfigurationError, match=r"^PIPELINE_REDIS_PORT: "):
            load_settings({"PIPELINE_REDIS_PORT": value})


@each("name", [name for name in env_names() if "PIPELINE_" in name])
def test_no_slip_of_the_pen_is_taken_for_a_service(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which name may have been meant is looked for in all of them: nearly all of the time that this took, and asked by other tests.
    monkeypatch.setattr(difflib, "get_close_matches", lambda *args, **options: [])
    slips = {name[:place] + name[place + 1 :] for place in range(len(name))}
    slips |= {name + more for more in ("S", "_PORT", "_HOST", "_SERVICE")}
    slips = {slip for slip in slips - env_names().keys() if slip.startswith(("PIPELINE_", "ENABLE_PIPELINE_"))}
    for slip in slips:
        with pytest.raises(ConfigurationError, match=rf"^unknown setting {slip}\b"):
            load_settings({slip: "6379"})


@pytest.mark.parametrize(
    ("name", "value"), [("PIPELINE_HTTP_PORT", "x"), ("PIPELINE_HTTP_PORT", "70000"), ("PIPELINE_LEASE_SECONDS", "0"),
                      ("PIPELINE_KEY_PREFIX", "{x}")]
)  # fmt: skip
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        load_settings({name: value})


def test_settings_cannot_be_changed_and_the_secret_is_not_shown() -> None:
    settings = load_settings({"PIPELINE_SECRET_KEY": "shibboleth"})
    with pytest.raises(ValidationError):
        settings.http_port = 1
    assert "shibboleth" not in repr(settings)


def test_another_broker_is_not_the_store() -> None:
    settings = load_settings({"CELERY_BROKER_URL": "amqp://guest@127.0.0.1//"})
    assert not settings.broker_is_store


def test_places_follow_the_data_folder_unless_named(tmp_path: Path) -> None:
    settings = load_settings({"PIPELINE_DATA_DIR": str(tmp_path / "a b")})
    assert settings.work_dir == tmp_path / "a b" / "work"
    assert settings.artifacts_root == (tmp_path / "a b" / "artifacts").as_uri()
    assert settings.base_url == "http://127.0.0.1:8000"
    named = load_settings(
        {"PIPELINE_WORK_DIR": "/x", "PIPELINE_ARTIFACTS_URL": "s3://bucket/", "PIPELINE_PUBLIC_URL": "https://jobs.example/"}
    )
    assert (named.work_dir, named.artifacts_root, named.base_url) == (Path("/x"), "s3://bucket", "https://jobs.example")


def test_each_variable_sets_one_field() -> None:
    assert len(set(env_names().values())) == len(env_names())
