"""Addresses of a store that Sentinel watches over."""

from __future__ import annotations

import ssl

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.settings import Settings, load_settings
from pipeline_jobs.starting import watched
from pipeline_jobs.worker.app import create_celery

URL = "sentinel://me:s%2Fecret@one:26379;sentinel://two;sentinel://three:26380/3?master_name=pipeline"


def test_an_address_says_where_the_sentinels_are_and_what_the_servers_take() -> None:
    found = watched(URL)
    assert found.sentinels == (("one", 26379), ("two", 26379), ("three", 26380))
    assert (found.master, found.number) == ("pipeline", 3)
    assert dict(found.login) == {"username": "me", "password": "s/ecret"}


def test_celery_takes_the_same_for_its_broker_and_its_results() -> None:
    app = create_celery(Settings(redis_url=URL))
    try:
        assert app.conf.broker_transport_options["master_name"] == "pipeline"
        login = "sentinel://me:s%2Fecret@"
        assert app.conf.broker_url == f"{login}one:26379/3;{login}two:26379/3;{login}three:26380/3"
        pool = app.backend.client.connection_pool
        assert (pool.service_name, pool.connection_kwargs["db"]) == ("pipeline", 3)
        assert pool.connection_kwargs["password"] == "s/ecret"
        assert "ecret" not in app.backend.as_uri()
        # The scripts push the hints themselves, as on one server.
        assert app.cell.settings.broker_is_store
    finally:
        app.close()


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://one:26379",
        "sentinel://one:26379/0?master_name=a&db=1",
        "sentinel://one:26379;redis://two:6379/0?master_name=a",
        "sentinel://one:99999/0?master_name=a",
        "sentinel:///0?master_name=a",
        "sentinel://one/zero?master_name=a",
        "sentinel://:secret/word@one/0?master_name=a",
    ],
)
def test_what_is_none_is_refused_as_a_process_starts_and_no_password_is_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PIPELINE_REDIS_URL") as refused:
        load_settings({"PIPELINE_REDIS_URL": url})
    assert "secret" not in str(refused.value)


def test_the_result_backend_takes_an_address_with_tls_as_the_store_does() -> None:
    app = create_celery(Settings(redis_url="rediss://:secret@one:6379/0"))
    try:
        options = app.cell.store.client.connection_pool.connection_kwargs
        backend = app.backend.client.connection_pool.connection_kwargs
        assert backend["ssl_cert_reqs"] in (ssl.CERT_REQUIRED, "required")
        assert (backend["host"], backend["password"]) == (options["host"], options["password"]) == ("one", "secret")
    finally:
        app.close()


@pytest.mark.parametrize("query", ["", "?ssl_ca_certs=/etc/ca.pem"])
def test_a_broker_with_tls_shows_who_it_is_whatever_the_address_says(query: str) -> None:
    """kombu by itself checks nothing where the address has no word about it; Flower looks at the setting."""
    app = create_celery(Settings(redis_url=f"rediss://:secret@one:6379/0{query}"))
    try:
        with app.connection_for_write() as connection:
            assert connection.ssl.get("ssl_cert_reqs", ssl.CERT_REQUIRED) is ssl.CERT_REQUIRED
        assert app.conf.broker_use_ssl["ssl_cert_reqs"] is ssl.CERT_REQUIRED
        assert app.conf.broker_use_ssl.get("ssl_ca_certs", "") == query.partition("=")[2]
    finally:
        app.close()


def test_quorum_queues_are_those_of_jobs_and_of_stages() -> None:
    app = create_celery(Settings(broker_url_setting="amqp://one;amqp://two", broker_queue_type="quorum"))
    try:
        queues = app.amqp.queues
        for name in ("jobs", "maintenance"):
            assert queues[name].queue_arguments == {"x-queue-type": "quorum"}
    finally:
        app.close()
