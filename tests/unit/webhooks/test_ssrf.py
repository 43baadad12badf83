"""No webhook goes where nobody from outside may send us: the shared corpus, with a canary on loopback and an eye on every connect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ssrfguard import Policy

from pipeline_jobs.addresses import webhook_policy
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.webhooks.post import post
from pipeline_jobs.webhooks.targets import check_target
from tests.cases import each
from tests.receiver import Receiver
from tests.ssrf_urls import NAMES, REBINDING, Answers, addresses_of, answers, redirects, urls

#: Unchanged by the canary's real port, so that each URL has a name in the report.
PORT = 9


def hostile(host: str, port: int, *_: object, **__: object) -> Answers:
    """A name server that says what it likes."""
    return answers(addresses_of(host, NAMES), port)


@pytest.fixture(scope="module")
def canary() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def any_port(port: int) -> Policy:
    """The policy with the canary's port and http allowed: only the table of addresses stands between."""
    strict = webhook_policy(False)
    return replace(strict, allowed_ports=strict.allowed_ports | {port, 80}, allowed_schemes=frozenset({"http", "https"}))


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(urls(PORT)) >= 200
    assert len(set(urls(PORT))) == len(urls(PORT))


def test_the_canary_sings_when_it_is_reached(canary: Receiver) -> None:
    answer = post(canary.url(), b"{}", {"webhook-id": "x"}, policy=webhook_policy(True), timeout=60)
    assert (answer.status, len(canary.hits)) == (200, 1)
    canary.hits.clear()


@each("index", range(len(urls(PORT))), ids=lambda index: repr(urls(PORT)[index])[:60])
def test_a_url_is_refused_as_it_comes_in_or_where_it_connects(index: int, canary: Receiver, connects: list[object]) -> None:
    connects.clear()
    canary.hits.clear()
    url = urls(canary.port)[index]
    answer = post(url, b"{}", {}, policy=any_port(canary.port), timeout=60, resolver=hostile)
    assert (answer.status, connects, canary.hits) == (None, [], [])
    # The same on a usual port: what is taken as it comes in is a name, whose address can be anything later.
    usual = urls(443)[index]
    try:
        check_target(usual, (), allow_private=False)
    except InvalidInput:
        pass
    else:
        assert post(usual, b"{}", {}, policy=webhook_policy(False), timeout=60, resolver=hostile).error == "address_forbidden"
        assert (connects, [letter for letter in usual[8:] if letter.isalpha()] != []) == ([], True)


@each("name", sorted(NAMES))
def test_a_name_that_leads_inside_is_refused_when_it_is_connected_to(name: str, connects: list[object]) -> None:
    connects.clear()
    url = f"https://{name}/hook"
    check_target(url, (), allow_private=False)
    answer = post(url, b"{}", {}, policy=webhook_policy(False), timeout=60, resolver=hostile)
    assert (answer.status, answer.error, connects) == (None, "address_forbidden", [])


@pytest.mark.parametrize("name", sorted(REBINDING))
def test_a_name_is_looked_up_once_and_what_was_checked_is_what_is_connected_to(name: str, connects: list[object]) -> None:
    first, second = REBINDING[name]
    asked: list[str] = []

    def resolver(host: str, port: int, *_: object, **__: object) -> Answers:
        asked.append(host)
        return answers(second if len(asked) > 1 else first, port)

    assert post(f"https://{name}/hook", b"{}", {}, policy=webhook_policy(False), timeout=60, resolver=resolver).status is None
    assert asked == [name]
    assert {address[0] for address in connects} == set(first)  # type: ignore[index]
    # The next try looks again, and is refused.
    connects.clear()
    assert post(f"https://{name}/hook", b"{}", {}, policy=webhook_policy(False), timeout=60, resolver=resolver).error == "address_forbidden"
    assert connects == []


def test_no_redirect_is_followed_wherever_it_leads(canary: Receiver) -> None:
    for location in redirects(canary.port):
        with Receiver(lambda hit, to=location: (307, {"Location": to})) as harmless:  # type: ignore[misc]
            answer = post(harmless.url(), b"{}", {}, policy=webhook_policy(True), timeout=60)
            assert (answer.status, answer.error, len(harmless.hits)) == (307, "redirect", 1)
    assert canary.hits == []


def test_metadata_services_stay_closed_even_where_private_addresses_are_allowed(connects: list[object]) -> None:
    for host in ("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "168.63.129.16", "2852039166"):
        assert post(f"http://{host}/", b"{}", {}, policy=webhook_policy(True), timeout=60, resolver=hostile).status is None
        with pytest.raises(InvalidInput):
            check_target(f"http://{host}/", (), allow_private=True)
    assert connects == []


def test_the_time_for_the_whole_holds_whatever_drips_in() -> None:
    with Receiver(lambda hit: "drip") as receiver:
        answer = post(receiver.url(), b"{}", {}, policy=webhook_policy(True), timeout=0.5)
        assert (answer.status, answer.error) == (None, "timeout")
