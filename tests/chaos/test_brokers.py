"""The nodes of the broker are killed one at a time, the leader of the queue half of the time; and what a run plans and allows for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from tests.chaos.brokers import Brokers
from tests.chaos.clock import Clock
from tests.chaos.crashes import Cause, Crash
from tests.chaos.faults import Around, Done, Faults
from tests.chaos.journal import Body
from tests.chaos.made_up import CLEAN
from tests.chaos.main import _faults, _parser
from tests.chaos.plan import BROKER_DOWN, FULL, FULL_ON_NODES, Fault, make_plan, share_of_full
from tests.chaos.processes import Incarnation, Processes, Role
from tests.chaos.proxy import Proxies
from tests.chaos.small_disk import SmallDisk
from tests.chaos.waits import NODE_SECONDS, slot_times
from tests.rabbit import Quorum, Rabbit
from tests.servers import Server
from tests.waiting import until


@dataclass
class MadeUpCluster:
    """What its nodes have of the queue, and what was done to them."""

    leader: str = ""
    online: int = 3
    #: Of nodes, in order: `kill 0`, `launch 0`.
    done: list[str] = field(default_factory=list)
    #: Nodes answer when it is set.
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.answers.set()


class Node(Rabbit):
    """One whose process was never started."""

    def __init__(self, folder: Path, number: int, of: MadeUpCluster) -> None:
        super().__init__(folder / f"node{number}")
        self.number, self.of = number, of

    @property
    def pid(self) -> int:
        return 100 + self.number

    def kill(self) -> None:
        self.of.done.append(f"kill {self.number}")
        self.of.online -= 1

    def launch(self) -> None:
        self.of.done.append(f"launch {self.number}")

    def quorums(self) -> dict[str, Quorum]:
        assert self.of.answers.wait(60)
        return {"jobs": Quorum(self.of.leader, self.of.online), "maintenance": Quorum("any", 3)}


@pytest.fixture
def made_up() -> MadeUpCluster:
    return MadeUpCluster()


@pytest.fixture
def nodes(tmp_path: Path, made_up: MadeUpCluster) -> list[Node]:
    found = [Node(tmp_path, number, made_up) for number in range(3)]
    made_up.leader = found[1].name
    return found


@pytest.fixture
def brokers(nodes: Sequence[Node]) -> Iterator[Brokers]:
    made = Brokers(nodes)
    yield made
    made.stop()


def doing(tmp_path: Path, brokers: Brokers, *picks: int, lines: list[str]) -> Faults:
    faults = [Fault(0.0, "kill_broker", pick, 0.0) for pick in picks]
    around = Around(Clock(tmp_path), Proxies(), SmallDisk(tmp_path), "w1", brokers)
    around.proxies.stop()
    around.disk.remove()
    return Faults(faults, Processes([], "x", tmp_path / "logs", {}, tmp_path), Server(tmp_path / "server"), lines.append, around)


def until_killed(brokers: Brokers, pick: int) -> str:
    return until(lambda: brokers.kill(pick), "the nodes to be there").mark


@pytest.mark.parametrize(
    ("pick", "mark"), [(0, "broker:1:leader"), (2, "broker:1:leader"), (1, "broker:0:follower"), (3, "broker:2:follower")]
)
def test_the_leader_of_the_queue_is_killed_half_of_the_time(brokers: Brokers, pick: int, mark: str) -> None:
    assert until_killed(brokers, pick) == mark


def test_no_second_node_is_killed_until_the_first_is_back_in_every_queue(brokers: Brokers, made_up: MadeUpCluster) -> None:
    until_killed(brokers, 0)
    assert [brokers.kill(1) for _ in range(3)] == [None] * 3
    brokers.start_again()
    # Its process is there, and it is not in the queue yet, as the nodes say.
    assert not brokers.whole
    assert brokers._asked is not None
    until(brokers._asked.done, "an answer")
    assert brokers.kill(1) is None
    assert made_up.done == ["kill 1", "launch 1"]
    made_up.online = 3
    assert until_killed(brokers, 1) == "broker:0:follower"


def test_a_queue_without_a_leader_costs_no_node(brokers: Brokers, made_up: MadeUpCluster) -> None:
    made_up.leader = ""
    until(lambda: brokers.whole, "an answer")
    for _ in range(3):
        assert brokers.kill(0) is None
    assert made_up.done == []


def test_nodes_that_do_not_answer_are_not_there_and_one_that_has_ended_is_told(
    brokers: Brokers, nodes: Sequence[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer() -> dict[str, Quorum]:
        raise requests.ConnectionError

    monkeypatch.setattr(nodes[2], "quorums", no_answer)
    assert brokers._ask() == {}

    def ended() -> None:
        raise AssertionError("RabbitMQ ended")

    monkeypatch.setattr(nodes[2], "check_alive", ended)
    with pytest.raises(AssertionError, match="RabbitMQ ended"):
        brokers._ask()


def test_the_fault_waits_for_no_node_and_the_run_for_all(tmp_path: Path, brokers: Brokers, made_up: MadeUpCluster) -> None:
    lines: list[str] = []
    faults = doing(tmp_path, brokers, 0, 1, lines=lines)
    made_up.answers.clear()
    # The nodes are asked, and nobody waits for what they say.
    faults.tick(0.0)
    assert made_up.done == []
    made_up.answers.set()
    until(lambda: faults.tick(0.0) or made_up.done[1:], "a node to be killed and started")
    assert made_up.done == ["kill 1", "launch 1"]
    faults.tick(0.0)
    assert not faults.idle
    made_up.online = 3
    until(lambda: faults.tick(0.0) or made_up.done[3:], "the other fault")
    assert made_up.done == ["kill 1", "launch 1", "kill 0", "launch 0"]
    assert not faults.idle
    made_up.online = 3
    until(lambda: faults.tick(0.0) or faults.idle, "all nodes to be there")
    assert [(one.kind, one.mark, one.pid) for one in faults.done] == [
        ("kill_broker", "broker:1:leader", 101), ("kill_broker", "broker:0:follower", 100),
    ]  # fmt: skip
    assert len(lines) == 2


def test_nodes_are_killed_where_there_are_several_and_no_other_plan_is_changed() -> None:
    def planned(broker: str) -> dict[str, int]:
        return _faults(_parser().parse_args(["--jobs", "20000", "--broker", broker]))

    assert planned("quorum") == {**planned("redis"), **FULL_ON_NODES}
    assert "kill_broker" not in {**planned("redis"), **planned("rabbitmq"), **FULL}
    with pytest.raises(SystemExit, match="kill_broker=1"):
        _faults(_parser().parse_args(["--broker", "rabbitmq", "--faults", "kill_broker=1"]))


def test_for_a_while_after_the_death_of_a_node_no_worker_need_have_heard_of_a_job_and_not_longer() -> None:
    worker = Incarnation(Role("w2", "worker", (), lambda log: True), "x:w2:1", cast("Any", None), Path(), 0.0, ready=0.0)
    bodies = [Body("ja", 1, 10, "x:w1:1", 1.1), Body("ja", 2, 11, "x:w2:1", 40.0, "end", 41.0)]
    lost = Crash("ja", 1.0, 10.0, body=bodies[0])
    seen = replace(CLEAN, bodies=bodies, crashes=[lost], causes=[Cause("kill_worker", "x:w1:1", None, 3.0, 3.0)])

    def started(*done: Done) -> list[float]:
        return list(slot_times(seen, [worker], done, [], None)[0].times)

    assert started() == [30.0]
    assert started(Done(12.0, "kill_broker", "broker:0:leader", 7, 3.0)) == [30.0 - NODE_SECONDS]
    assert started(Done(10.0 - NODE_SECONDS, "kill_broker", "broker:0:leader", 7, 60.0)) == [30.0]


def test_a_plan_kills_nodes_for_some_seconds_and_is_else_a_plan_like_others() -> None:
    plan = make_plan(1, 20_000, 1680, share_of_full(20_000, nodes=True), lease_seconds=6)
    kills = [fault for fault in plan.faults if fault.kind == "kill_broker"]
    assert len(kills) == FULL_ON_NODES["kill_broker"] == len(plan.faults) - sum(FULL.values())
    assert all(6 * BROKER_DOWN[0] <= fault.seconds <= 6 * BROKER_DOWN[1] for fault in kills)
    assert {fault.pick % 2 for fault in kills} == {0, 1}
