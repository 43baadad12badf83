"""Whatever the store says that it cannot do now, and to whichever command of a request: 503, or as if it had not said it.

Each route x each of its first trips to the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pytest
from werkzeug.test import TestResponse

from tests.acceptance.isolation import ROUTES, World, _filled, open_world
from tests.cases import each
from tests.commands import empty
from tests.refusing import REFUSALS, Refusing
from tests.servers import Server

#: Of a request; a page for operators has a hundred, in few round trips.
TRIPS = 8
#: Streams go on asking, in threads of their own.
STREAMS = ("/events", "/ws")
#: Pages for people, and what balancers ask, are answered without a time to ask again.
NO_PROGRAM = ("/pipeline/ui", "/health")
#: Each trip of each route has one of them: the next one.
NEXT = cycle(REFUSALS.values())


@pytest.fixture(scope="module")
def refusing(own_server: Server) -> Iterator[Refusing]:
    proxy = Refusing(own_server.port)
    yield proxy
    proxy.close()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("refusing")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def world(own_server: Server, refusing: Refusing, tmp_path_factory: pytest.TempPathFactory) -> World:
    empty(own_server)
    return open_world(refusing.url, tmp_path_factory.mktemp("world"))


def asked(world: World, refusing: Refusing, method: str, rule: str, at: int, error: str) -> TestResponse:
    """The answer while this trip is refused."""
    route = ROUTES[method, rule]
    path, body = world.filled(route.path, "own"), _filled(route.body, "acme")
    refusing.refuse(at, error)
    answer = world.ask(method, path, "global admin", body, **route.headers)
    answer.close()
    return answer


@each(("method", "rule"), [route for route in ROUTES if not route[1].endswith(STREAMS)])
def test_what_the_store_cannot_do_now_is_said_and_is_no_fault_of_ours(world: World, refusing: Refusing, method: str, rule: str) -> None:
    right = ROUTES[method, rule].everywhere[0]
    for at in range(TRIPS):
        answer = asked(world, refusing, method, rule, at, error := next(NEXT))
        more = refusing.refused
        refusing.refuse(None)
        said = (at, error, answer.status_code)
        # 429: a turn that could not be given back, in the request before, lapses later.
        assert answer.status_code in (right, 429, 503), said
        assert answer.status_code == right or "Retry-After" in answer.headers or rule.startswith(NO_PROGRAM), said
        if not more:
            break
