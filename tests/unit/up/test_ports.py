"""Ports: free, all different, and a taken one is said with its setting."""

from __future__ import annotations

import socket

import pytest

from pipeline_jobs.exceptions import ConfigurationError
from pipeline_jobs.up.ports import choose_ports

LOOPBACK = "127.0.0.1"


def test_zero_gives_free_ports_that_differ() -> None:
    ports = choose_ports({f"PORT_{number}": (LOOPBACK, 0) for number in range(20)})
    assert len(set(ports.values())) == 20
    for port in ports.values():
        with socket.create_server((LOOPBACK, port)):
            pass


def test_none_of_them_may_be_the_other_end_of_a_connection_before_its_server_is_there() -> None:
    ports = choose_ports({f"PORT_{number}": (LOOPBACK, 0) for number in range(20)})
    with socket.socket() as leaves:
        leaves.bind((LOOPBACK, 0))
        assert max(ports.values()) < 32_768 <= leaves.getsockname()[1]


def test_a_port_that_was_set_is_kept() -> None:
    port = choose_ports({"A": (LOOPBACK, 0)})["A"]
    assert choose_ports({"A": (LOOPBACK, port)}) == {"A": port}


def test_a_taken_port_is_said_with_its_setting_and_the_way_out() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port} \(Address already in use\): set PIPELINE_HTTP_PORT .* 0 for"):
            choose_ports({"PIPELINE_FLOWER_PORT": (LOOPBACK, 0), "PIPELINE_HTTP_PORT": (LOOPBACK, port)})


def test_two_settings_cannot_have_the_same_port() -> None:
    port = choose_ports({"A": (LOOPBACK, 0)})["A"]
    with pytest.raises(ConfigurationError, match="set B to another port"):
        choose_ports({"A": (LOOPBACK, port), "B": (LOOPBACK, port)})


def test_a_host_that_is_none_is_said() -> None:
    with pytest.raises(ConfigurationError, match="set PIPELINE_HTTP_PORT"):
        choose_ports({"PIPELINE_HTTP_PORT": ("192.0.2.1", 0)})


def test_a_port_whose_connections_are_still_closing_is_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            accepted, _ = server.accept()
            accepted.close()  # first, so that TIME_WAIT is on the server's side
    assert choose_ports({"A": (LOOPBACK, port)}) == {"A": port}
