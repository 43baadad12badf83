"""How a request with an Idempotency-Key is known again: across releases, and across fields that nobody used."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from pipeline_jobs.exceptions import JobGone, KeyReused, QueueFull
from pipeline_jobs.job import ACCEPTED, FORMER, NewJob, differing, dumps
from pipeline_jobs.jobs.batches import Batches, NewBatch, WrongJob
from pipeline_jobs.schedules.scheduler import NewSchedule
from pipeline_jobs.store import idempotency as module
from pipeline_jobs.store.idempotency import digest, forms_of_batch, forms_of_job, forms_of_schedule
from pipeline_jobs.store.rates import Sender
from tests.cases import each
from tests.integration.conftest import Cell

HOOK = {"url": "https://x.example", "events": []}
NEW = NewJob(pipeline="sleep", tenant_id="acme", priority=3, tags=("a",), metadata={"k": [1]}, webhook=HOOK)
#: As the release before hashed `NEW`, field by field (`repr` of a tuple in the order of its class): written out, not computed.
BEFORE = (
    "(None, None, 'sleep', {}, 'acme', 'main', 3, None, None, None, None, (), 'fail', None, ('a',), {'k': [1]}, "
    "{'url': 'https://x.example', 'events': []})"
)


def kept(jobs: Cell, tenant_id: str = "acme") -> str:
    (key,) = jobs.store.client.scan_iter(f"*idempotency:{tenant_id}:*")
    return str(jobs.store.client.get(key))


def keep(jobs: Cell, fingerprint: str) -> None:
    """The one key as another release wrote it."""
    (key,) = jobs.store.client.scan_iter("*idempotency:acme:*")
    jobs.store.client.set(key, f"{kept(jobs).split()[0]} {fingerprint}")


def test_the_form_of_the_release_before_is_sent_and_remembered_and_either_is_taken(jobs: Cell) -> None:
    old, new = forms_of_job(NEW)
    assert old == BEFORE
    first = jobs.client.accept(NEW, idempotency_key="k")
    assert kept(jobs) == f"{first.job.job_id} {digest(BEFORE)}"
    for form in (BEFORE, new):
        keep(jobs, digest(form))
        again = jobs.client.accept(NEW, idempotency_key="k")
        assert (again.job.job_id, again.replayed) == (first.job.job_id, True)
    keep(jobs, digest("another request"))
    with pytest.raises(KeyReused):
        jobs.client.accept(NEW, idempotency_key="k")


def test_of_both_forms_of_a_batch_that_of_the_release_before_is_remembered(jobs: Cell) -> None:
    Batches(jobs.client).create(NewBatch((NEW,), tenant_id="acme"), idempotency_key="k")
    old, new = forms_of_batch("acme", "main", {}, [NEW])
    assert kept(jobs).split()[1] == digest(str(old)) != digest(new)


def test_batches_and_schedules_send_both_forms_too() -> None:
    wrong = WrongJob(({"field": "url", "message": "m", "code": "c"},))
    old, new = forms_of_batch("acme", "main", {}, [NEW, wrong])
    legacy = {name: getattr(NEW, FORMER.get(name, name)) for name in module._BEFORE}
    assert old == dumps(["acme", "main", {}, [legacy, {"errors": list(wrong.errors)}]])
    assert new != old
    schedule = NewSchedule("0 * * * *", NEW)
    old, new = forms_of_schedule(schedule)
    words = {"timezone": "UTC", "name": "", "overlap": "skip", "catch_up": "none", "paused": False}
    assert old == dumps({"cron": "0 * * * *", "job": legacy, **words})
    assert new == dumps({"cron": "0 * * * *", "job": differing(NEW)})


def test_the_new_form_has_no_default_and_a_field_of_a_later_release_has_no_old_form(monkeypatch: pytest.MonkeyPatch) -> None:
    _, form = forms_of_job(NewJob())
    assert form == "{}"
    monkeypatch.setattr(module, "_NAMES_BEFORE", module._NAMES_BEFORE - {"priority"})
    assert forms_of_job(NEW)[0] is None
    assert forms_of_job(replace(NEW, priority=0))[0] is not None
    assert forms_of_batch("acme", "main", {}, [NEW])[0] is None
    assert forms_of_schedule(NewSchedule("0 * * * *", NEW))[0] is None


@each("name", sorted(ACCEPTED))
def test_each_field_tells_requests_apart(name: str) -> None:
    values: dict[str, Any] = {"int": 7, "int | None": 7, "float | None": 7.0, "Moment | None": 7, "tuple[str, ...]": ("x",)}
    other = replace(NEW, **{name: values.get(ACCEPTED[name], {"x": 1} if "Mapping" in ACCEPTED[name] else "x")})
    assert all(one != another for one, another in zip(forms_of_job(NEW), forms_of_job(other), strict=True))
    assert asdict(other) != asdict(NEW)


def test_what_a_key_made_is_given_without_rates_or_said_to_be_gone(jobs: Cell) -> None:
    jobs.store.set_limits("acme", {"submit_rate": 100})
    first = jobs.client.accept(NEW, idempotency_key="k", sender=Sender("key:one"))
    assert [rate.name for rate in first.rates] == ["tenant"]
    again = jobs.client.accept(NEW, idempotency_key="k", sender=Sender("key:one"))
    assert (again.rates, again.replayed) == ((), True)
    jobs.client.cancel(first.job.job_id)
    jobs.client.delete(first.job.job_id)
    with pytest.raises(JobGone):
        jobs.client.accept(NEW, idempotency_key="k")


def test_what_a_key_made_is_given_also_where_a_new_job_would_be_refused(jobs: Cell) -> None:
    jobs.store.set_limits("acme", {"max_queued": 1})
    first = jobs.client.accept(NEW, idempotency_key="k")
    again = jobs.client.accept(NEW, idempotency_key="k")
    assert (again.job.job_id, again.replayed) == (first.job.job_id, True)
    with pytest.raises(KeyReused):
        jobs.client.accept(replace(NEW, priority=4), idempotency_key="k")
    with pytest.raises(QueueFull):
        jobs.client.accept(NEW, idempotency_key="another")
    assert kept(jobs).split()[0] == first.job.job_id, "a key of a job that was refused is free"


def test_a_batch_that_is_replayed_says_so_and_the_first_answer_has_its_rates(jobs: Cell) -> None:
    jobs.store.set_limits("acme", {"submit_rate": 100})
    batch = NewBatch([NEW, NEW], "acme")
    first, again = (Batches(jobs.client).create(batch, idempotency_key="k") for _ in range(2))
    assert ([rate.left for rate in first.rates], first.replayed) == ([98], False)
    assert (again.job_ids, again.rates, again.replayed) == (first.job_ids, (), True)
    with pytest.raises(KeyReused):
        Batches(jobs.client).create(replace(batch, metadata={"x": 1}), idempotency_key="k")
