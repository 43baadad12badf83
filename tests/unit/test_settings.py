"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.settings import env_names, load_settings


def test_the_defaults_are_the_briefs() -> None:
    settings = load_settings({})
    assert (settings.enable_job_queue, settings.enable_run_api) == (False, False)
    assert (settings.max_concurrent_jobs, settings.job_ttl_seconds) == (5, 3600)
    assert settings.allow_private_urls is False
    assert settings.broker_is_store


def test_values_come_from_the_environment_and_empty_means_default() -> None:
    settings = load_settings({"PIPELINE_MAX_CONCURRENT_JOBS": "9", "ENABLE_PIPELINE_JOB_QUEUE": "1", "PIPELINE_JOB_TTL_SECONDS": ""})
    assert (settings.max_concurrent_jobs, settings.enable_job_queue, settings.job_ttl_seconds) == (9, True, 3600)


def test_a_misspelt_name_is_refused_with_the_likely_one() -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_MAX_CONCURENT_JOBS: did you mean PIPELINE_MAX_CONCURRENT_JOBS"):
        load_settings({"PIPELINE_MAX_CONCURENT_JOBS": "9"})


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
        settings.http_port = 1  # type: ignore[misc]
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
