"""Of jobs in parts the judge finds what is lost, doubled or out of its place, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.evidence import Evidence
from tests.chaos.figures import executions
from tests.chaos.in_parts import lost_by_a_part, lost_parts
from tests.chaos.made_up import CUT, HEARD, JOINED, PARTS, parted, with_record
from tests.chaos.oracle import judge
from tests.chaos.pipeline import parts_of

JOIN = "part lost, doubled or out of its place in the join"
AGAIN, POOL = "stage run again although its output was kept", "stage run by another pool than its own"


def violated(seen: Evidence) -> set[str]:
    return {promise for promise, found in judge(seen).violations.items() if found}


def test_a_job_that_was_joined_of_its_parts_is_as_it_should_be() -> None:
    assert parts_of("a") == 3
    assert violated(parted(CUT, *PARTS, JOINED, heard=HEARD)) == set()
    killed = ("ja~1.1", 6, "g1", "part", None)
    assert violated(parted(CUT, ("ja", 1, "w1", "split", None), killed, *PARTS, JOINED, heard=HEARD)) == set()
    assert executions(parted(CUT, *PARTS, JOINED, heard=HEARD)).unaccounted == 0


@pytest.mark.parametrize(
    "heard",
    [
        HEARD[:2],
        (*HEARD, HEARD[2]),
        (HEARD[1], HEARD[0], HEARD[2]),
        (HEARD[0], (1, "ja~1.0.7"), HEARD[2]),
        (*HEARD[:2], (2, "ja~1.2.8")),
        (*HEARD[:2], (2, "ja~2.2.7")),
    ],
    ids=["lost", "doubled", "out of order", "another one's", "of a run that did not end", "of another split"],
)
def test_what_is_not_joined_as_it_should_be_is_found(heard: tuple[tuple[int, str], ...]) -> None:
    other = ("ja~2.2", 7, "g1", "part", "end")
    assert violated(parted(CUT, *PARTS, other, JOINED, heard=heard)) == {JOIN}


def test_a_job_that_is_split_again_when_it_was_joined_and_parts_of_another_pool_are_found() -> None:
    again = ("ja", 3, "w1", "split", None)
    assert violated(parted(CUT, *PARTS, JOINED, again, ("ja", 4, "w1", "join", "end"), heard=HEARD)) == {AGAIN}
    assert violated(parted(CUT, *PARTS[:2], ("ja~1.2", 7, "w1", "part", "end"), JOINED, heard=HEARD)) == {POOL}


def test_a_part_that_was_lost_three_times_explains_the_end_of_its_job() -> None:
    flat = {"status": "failed", "error": "part 1: its worker died", "error_detail": '{"code": "worker_lost"}', "terminal_writes": "1"}
    crash = ["progress", 1, 1, 10, "hear", "part 1 goes back to the queue: crash, starts apart from"]
    log = [crash, ["progress", 1, 1, 12], ["progress", 1, 1, 10, "hear", "part 1 goes back to the queue: handback"]]
    seen = with_record("ja", flat)
    for times, explained in ((2, True), (1, False)):
        lost = lost_parts({"ja": [*log, *[crash] * (times - 1)]}, seen.records)
        assert lost["ja"] == {1: times + 1}
        assert lost_by_a_part(replace(seen, lost_parts=lost), "ja") is explained
    assert not lost_by_a_part(seen, "jc")
