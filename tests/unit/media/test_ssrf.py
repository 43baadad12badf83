"""No media job goes where nobody from outside may send us: the shared corpus, with a canary on loopback and an eye on every connect."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pipeline_jobs.addresses import check_source, source_policy
from pipeline_jobs.exceptions import InvalidInput, StageError
from pipeline_jobs.media import download, fetch
from tests.cases import each
from tests.ssrf_urls import NAMES, REBINDING, addresses_of, answers, redirects, urls
from tests.unit.media.conftest import MakeContext
from tests.unit.media.fakes import FakeSite, reply

#: The corpus has the canary's port in it, which is another each time: cases go by their number.
CASES = range(len(urls(9)))
#: What a job may say of an address that is closed to it, or of a name or a connection that is none.
CLOSED = {"source_forbidden", "source_unavailable", "source_failed"}


@pytest.fixture(scope="module")
def canary() -> Iterator[FakeSite]:
    canary = FakeSite("0.0.0.0")
    yield canary
    canary.close()


def port_of(site: FakeSite) -> int:
    return int(site.url("").rsplit(":", 1)[1])


def name_server(monkeypatch: pytest.MonkeyPatch, *turns: dict[str, tuple[str, ...]]) -> list[str]:
    """A name server that says what it likes: of a name that it does not know, this machine. :return: what it was asked."""
    asked: list[str] = []

    def getaddrinfo(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        asked.append(name)
        return answers(addresses_of(name, turns[min(len(asked), len(turns)) - 1] if turns else NAMES), port)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def code_of(context: Any) -> str:
    try:
        fetch.run(context)
    except StageError as error:
        return error.code
    return "fetched"


def test_the_canary_sings_when_it_is_reached(canary: FakeSite, make_context: MakeContext) -> None:
    assert code_of(make_context(f"http://127.0.0.1:{port_of(canary)}/")) == "source_not_found"
    assert len(canary.requests) == 1
    canary.requests.clear()


@each("number", CASES, ids=lambda number: repr(urls(9)[number])[:60])
def test_a_url_is_refused_as_it_comes_in_or_when_it_is_fetched(
    number: int, canary: FakeSite, connects: list[Any], make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    connects.clear()
    canary.requests.clear()
    url = urls(port_of(canary))[number]
    try:
        check_source(url)
    except InvalidInput:
        return
    name_server(monkeypatch)
    strict = source_policy(False)
    # The canary's port is open here: only the table of addresses stands between.
    monkeypatch.setattr(download, "source_policy", lambda allow: replace(strict, allowed_ports=strict.allowed_ports | {port_of(canary)}))
    assert code_of(make_context(url, PIPELINE_ALLOW_PRIVATE_URLS="0")) in CLOSED
    assert (connects, canary.requests) == ([], [])


@each("name", sorted(NAMES))
def test_a_name_that_leads_inside_is_refused(
    name: str, connects: list[Any], make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    connects.clear()
    name_server(monkeypatch)
    assert code_of(make_context(f"https://{name}/a.mp4", PIPELINE_ALLOW_PRIVATE_URLS="0")) == "source_forbidden"
    assert connects == []


@pytest.mark.parametrize("name", sorted(REBINDING))
def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(
    name: str, connects: list[Any], make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = REBINDING[name]
    asked = name_server(monkeypatch, {name: first}, {name: second})
    assert code_of(make_context(f"https://{name}/a.mp4", PIPELINE_ALLOW_PRIVATE_URLS="0")) in CLOSED
    assert {address[0] for address in connects} <= set(first)
    assert asked[0] == name


@pytest.mark.parametrize("number", range(len(redirects(9))), ids=lambda number: redirects(9)[number])
def test_a_redirect_inside_is_refused(number: int, canary: FakeSite, make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """127.9.9.9 plays the public server."""
    public = FakeSite("127.9.9.9")
    strict = source_policy(False)
    mine = replace(strict, allowed_networks=("127.9.9.9/32",), allowed_ports=frozenset(range(1, 65536)))  # type: ignore[arg-type]
    monkeypatch.setattr(download, "source_policy", lambda allow: mine)
    try:
        to = redirects(port_of(canary))[number]
        url = public.answer("/a.mp4", lambda handler: reply(handler, b"", status=302, Location=to))
        assert code_of(make_context(url, PIPELINE_ALLOW_PRIVATE_URLS="0")) == "source_forbidden"
        assert (len(public.requests), canary.requests) == (1, [])
    finally:
        public.close()
