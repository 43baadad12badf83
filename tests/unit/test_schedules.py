"""What becomes of slots that are due, the ids of their jobs, and the record's way into the store and back."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_jobs.job import JOB_ID, NewJob
from pipeline_jobs.schedules.cron import Cron
from pipeline_jobs.schedules.fire import choose, job_id_of
from pipeline_jobs.schedules.schedule import NOT_IN_TEMPLATE, CatchUp, Overlap, Schedule, template_body, template_of
from tests.cases import each

NOW, GRACE, MINUTE = 1_000_000_000, 60_000, 60_000


def ages(*seconds: int) -> list[int]:
    return [NOW - second * 1000 for second in seconds]


@each(
    ("catch_up", "due", "fired"),
    [
        ("none", ages(5), ages(5)),
        ("none", ages(60), ages(60)),
        ("none", ages(61), []),
        ("none", ages(300, 240, 180, 120), []),
        ("none", ages(300, 65, 5), ages(5)),
        ("last", ages(300, 240, 180, 120), ages(120)),
        ("last", ages(300, 65, 5), ages(5)),
        ("last", ages(5), ages(5)),
        ("all", ages(300, 65, 5), ages(300, 65, 5)),
        ("all", ages(600, 500, 400, 300, 5), ages(400, 300, 5)),
        ("all", ages(600, 500, 400, 300), ages(500, 400, 300)),
    ],
)
def test_what_is_on_time_is_fired_and_of_the_rest_what_catch_up_says(catch_up: str, due: list[int], fired: list[int]) -> None:
    assert choose(due, NOW, CatchUp(catch_up), 3, GRACE)[0] == fired


@settings(deadline=None)
@given(
    due=st.lists(st.integers(0, 10_000_000), unique=True, min_size=1).map(lambda back: sorted(NOW - one for one in back)),
    catch_up=st.sampled_from(CatchUp),
    most=st.integers(1, 20),
)
def test_every_slot_is_either_fired_or_missed_and_the_newest_are_fired(due: list[int], catch_up: CatchUp, most: int) -> None:
    fired, missed = choose(due, NOW, catch_up, most, GRACE)
    assert missed + fired == due
    on_time = [slot for slot in due if NOW - slot <= GRACE]
    late = [slot for slot in fired if slot not in on_time]
    assert set(on_time) <= set(fired)
    assert len(late) <= {CatchUp.NONE: 0, CatchUp.LAST: 1, CatchUp.ALL: most}[catch_up]
    if catch_up is not CatchUp.NONE:
        assert fired


def test_the_job_of_a_slot_has_one_id_whoever_makes_it() -> None:
    made = job_id_of("sch_1_00000000", 1_735_905_600_000)
    assert made == job_id_of("sch_1_00000000", 1_735_905_600_000)
    assert made.startswith("job_1735905600_")
    assert JOB_ID.fullmatch(made)
    others = {job_id_of("sch_1_00000001", 1_735_905_600_000), job_id_of("sch_1_00000000", 1_735_905_660_000)}
    assert len({made, *others, job_id_of("sch_1_00000000", 1_735_905_600_000, draw=1)}) == 4


def test_a_template_is_what_a_client_wrote_and_comes_back_as_the_same_job() -> None:
    new = NewJob(
        pipeline="sleep", params={"seconds": 1}, tenant_id="acme", workspace_id="w", priority=3, tags=("a",), start_within_seconds=9.5
    )
    body = template_body(new)
    assert body == {"pipeline": "sleep", "params": {"seconds": 1}, "priority": 3, "tags": ["a"], "start_within_seconds": 9.5}
    assert template_of(body, "acme", "w") == new
    assert template_body(NewJob(url="http://a.example/x")) == {"pipeline": "media", "url": "http://a.example/x"}


def test_what_the_schedule_says_is_not_in_the_template() -> None:
    known = {one.name for one in fields(NewJob)}
    assert {"tenant_id", "workspace_id", "run_at"} <= NOT_IN_TEMPLATE & known


def test_a_record_comes_back_as_it_was_and_unknown_fields_are_left_alone() -> None:
    made = Schedule(
        "sch_1_00000000", Cron("0 3 * * *", "Europe/Berlin"), NewJob(pipeline="sleep", tenant_id="acme"), "nightly",
        Overlap.QUEUE, CatchUp.ALL, paused=True, revision="r",
    )  # fmt: skip
    flat = {**made.to_mapping(), "schedule_id": made.schedule_id, "paused": "1", "revision": "r", "next_run_at": "", "newer": "x"}
    assert Schedule.from_mapping(flat) == made
    assert made.to_dict()["next_run_at"] is None
