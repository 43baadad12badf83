from __future__ import annotations

import pytest

from pipeline_jobs.addresses import source_policy
from tests.cases import each

ALWAYS_CLOSED = [
    "169.254.169.254", "168.63.129.16", "224.0.0.1", "255.255.255.255", "0.0.0.0", "fe80::1", "ff02::1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "::ffff:127.0.0.1", "::", "240.0.0.1",
]  # fmt: skip
PRIVATE = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "::1", "fd00::1"]
PUBLIC = ["93.184.216.34", "8.8.8.8", "2606:4700::1111"]


@pytest.mark.parametrize("address", ALWAYS_CLOSED)
@pytest.mark.parametrize("allow_private", [False, True])
def test_these_are_closed_whatever_is_allowed(address: str, allow_private: bool) -> None:
    assert not source_policy(allow_private).permits_address(address)


@each("address", PRIVATE)
def test_private_addresses_are_open_only_by_the_setting(address: str) -> None:
    assert not source_policy(False).permits_address(address)
    assert source_policy(True).permits_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert source_policy(False).permits_address(address)
