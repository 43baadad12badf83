"""Between the steps of a long request others go first: of a greedy neighbour's cancellation or upload one step at most is under way."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.files.upload import PIECE_BYTES
from pipeline_jobs.jobs.bulk import PAGE
from pipeline_jobs.web.server.accounts import USED_SECONDS
from pipeline_jobs.web.server.giving_way import SEVERAL, Told, Way
from tests.waiting import until

from .world import World

STEPS = 4
TUS = {"Content-Type": "application/offset+octet-stream"}


class Neighbours:
    """A process of the API in which `greedy` has used all of the time. Somebody else comes after the first step of its request."""

    def __init__(self) -> None:
        self._way = Way(Told(), 0, lambda group: 0, lambda: 1000.0)
        self._way.used.add("greedy", USED_SECONDS, 1000.0)
        self._begun, self._met = threading.Event(), threading.Event()
        #: Steps that the greedy request has made.
        self.steps = 0

    def step(self) -> None:
        """Of the greedy request."""
        self.steps += 1
        self._begun.set()
        assert self._met.wait(60)

    def meet(self, ask: Callable[[], Any], look: Callable[[], None]) -> Any:
        """:return: what the greedy one is answered. :param look: called while it gives way."""
        answers: list[Any] = []
        thread = threading.Thread(target=self._way.served, args=(_of("greedy"), lambda _: answers.append(ask())), daemon=True)
        thread.start()
        assert self._begun.wait(60)

        def goes_first(_: Any) -> None:
            self._met.set()
            until(lambda: self._way.waiting == 1, "the greedy one to give way")
            look()
            assert self.steps == 1

        self._way.served(_of("b"), goes_first)
        thread.join(60)
        assert not thread.is_alive()
        return answers[0]


def _of(tenant: str) -> Any:
    """A connection of this one."""
    return SimpleNamespace(group=tenant, is_known=True, waits=False, sock=SimpleNamespace(cost=0.0))


def test_a_greedy_neighbours_cancellation_stops_after_each_page(client: FlaskClient, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = STEPS * PAGE
    made = client.post("/pipeline/batches", json={"jobs": [{"pipeline": "sleep"}] * jobs}).get_json()
    neighbours, run, other = Neighbours(), world.store.run, world.make_cell()

    def counted(script: str, /, **arguments: Any) -> Any:
        reply = run(script, **arguments)
        if script == "cancel_page":
            neighbours.step()
        return reply

    monkeypatch.setattr(world.store, "run", counted)

    def look() -> None:
        counts = other.batches.get(made["batch_id"]).to_dict()["counts"]
        assert 0 < counts["cancelled"] <= PAGE

    answer = neighbours.meet(lambda: client.post(made["urls"]["cancel"]), look)
    assert answer.get_json()["cancelled"] == jobs
    assert neighbours.steps >= STEPS


def test_a_greedy_neighbours_upload_stops_after_each_piece(client: FlaskClient) -> None:
    neighbours, data = Neighbours(), bytes(STEPS * PIECE_BYTES)

    class Body(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            neighbours.step()
            return super().read(size)

    body = {"wsgi.input": Body(data), "CONTENT_LENGTH": str(len(data))}
    answer = neighbours.meet(lambda: client.post("/pipeline/uploads", headers=TUS, environ_overrides=body), lambda: None)
    assert answer.get_json()["offset"] == len(data)
    assert neighbours.steps == STEPS


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for each look at the others."""
    found: list[int] = []
    monkeypatch.setattr(Way, "pause", lambda self, going: found.append(1))
    return found


def as_served(ask: Callable[[], Any]) -> Any:
    return Way(Told(), 0, lambda group: 0).served(_of("greedy"), lambda _: ask())[0]


# Jobs are looked at as they are validated; those of a batch once more as they are made.
@pytest.mark.parametrize(("path", "job", "times"), [("batches", {}, 2), ("workflows", {"name": "j"}, 1)])
def test_a_greedy_neighbours_jobs_are_looked_at_a_few_at_a_time(
    client: FlaskClient, looks: list[int], path: str, job: dict[str, str], times: int
) -> None:
    jobs = [{"pipeline": "sleep", **{name: f"{text}{number}" for name, text in job.items()}} for number in range(10 * SEVERAL)]
    assert as_served(lambda: client.post(f"/pipeline/{path}", json={"jobs": jobs})).status_code == 201
    assert len(looks) >= times * len(jobs) // SEVERAL


def test_a_greedy_neighbours_rows_are_shown_a_few_at_a_time(client: FlaskClient, looks: list[int]) -> None:
    rows = 6 * SEVERAL
    client.post("/pipeline/batches", json={"jobs": [{"pipeline": "sleep"}] * rows})
    assert as_served(lambda: client.get(f"/pipeline/jobs?limit={rows}")).get_json()["count"] == rows
    assert len(looks) >= rows // SEVERAL
