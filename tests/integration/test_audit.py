"""The audit log: two streams that are read as one, of which the daily work fills only its own."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import KeyStore, Role
from tests.integration.conftest import Cell

ROOT = Path(__file__).resolve().parents[2]
#: As many of the daily work are kept (`lua/lib/audit.lua`).
WORK_ROWS = 10_000
#: Whatever these do to an installation must stay to be seen.
SECURITY = ("key.created", "key.revoked", "limits.changed", "pipeline_limits.changed", "tenant.erased", "webhook_endpoint.created")
DAILY = ("schedule.paused", "schedule.run", "job.cancelled", "job.retried", "jobs.cancelled", "batch.cancelled", "delivery.retried")


def everything(jobs: Cell, limit: int) -> list[audit.Row]:
    """All rows, page by page."""
    page = audit.page(jobs.store, limit=limit)
    rows = [*page.items]
    while page.next_cursor is not None:
        assert len(rows) % limit == 0
        page = audit.page(jobs.store, page.next_cursor, limit)
        rows += page.items
    return rows


def test_ten_thousand_schedule_pauses_push_out_no_security_event(jobs: Cell) -> None:
    key, _ = KeyStore(jobs.store).create("acme", Role.ADMIN, actor="cli:root@host")
    audit.record(jobs.store, "cli:root@host", "limits.changed", "acme", {"weight": 2})
    # Sent together: one trip each would take the time of all the other tests.
    row = {"work": True, "actor": "key:1", "action": "schedule.paused", "detail": '{"tenant_id":"acme"}'}
    jobs.store.run_each("audit", [{**row, "target": f"s{number}"} for number in range(WORK_ROWS + 150)])
    rows = everything(jobs, 5000)
    assert [(row.action, row.target) for row in rows[-2:]] == [("limits.changed", "acme"), ("key.created", key.key_id)]
    daily = rows[:-2]
    assert [row.target for row in daily] == [f"s{number}" for number in range(WORK_ROWS + 149, -1, -1)][: len(daily)]
    # The server trims whole blocks, of 100 entries by default.
    assert WORK_ROWS <= len(daily) <= WORK_ROWS + 100


@pytest.mark.parametrize("seed", range(5))
def test_any_mix_is_read_in_the_order_it_was_written_page_by_page(jobs: Cell, seed: int) -> None:
    draw = random.Random(seed)
    written = []
    keys = KeyStore(jobs.store)
    for number in range(120):
        action = draw.choice((*SECURITY[2:], *DAILY, "made"))
        if action == "made":
            written.append(("key.created", keys.create("acme", Role.READ, actor="test")[0].key_id))
            continue
        audit.record(jobs.store, "test", action, str(number))
        written.append((action, str(number)))
    for limit in (1, 2, 7, 119, 120, 121):
        rows = everything(jobs, limit)
        assert [(row.action, row.target) for row in reversed(rows)] == written, limit
        assert len({row.row_id for row in rows}) == len(rows)


def test_the_order_holds_as_the_servers_clock_goes_back(jobs: Cell) -> None:
    """As after a failover to a machine whose clock is behind: the newest rows are from the future."""
    ahead = 9_999_999_999_999
    fields = {"actor": "test", "action": "schedule.run", "target": "ahead", "detail": "{}"}
    jobs.store.client.xadd(jobs.store.keys("audit_work"), fields, id=f"{ahead}-7")
    for target, action in enumerate(("limits.changed", "schedule.paused", "tenant.erased")):
        audit.record(jobs.store, "test", action, str(target))
    assert [(row.target, row.row_id) for row in everything(jobs, 2)] == [
        ("2", f"{ahead}-10"), ("1", f"{ahead}-9"), ("0", f"{ahead}-8"), ("ahead", f"{ahead}-7"),
    ]  # fmt: skip


def test_what_an_action_is_taken_for(jobs: Cell) -> None:
    assert [action for action in SECURITY if action.startswith(audit.WORK)] == []
    assert [action for action in DAILY if not action.startswith(audit.WORK)] == []


def test_every_action_that_is_written_is_in_the_documents_table() -> None:
    table = re.findall(r"^\| ((?:`[\w.]+`(?:, )?)+) \|", (ROOT / "docs/security.md").read_text("utf-8"), re.MULTILINE)
    told = {name.rpartition(".")[2] if name.startswith(".") else name for cell in table for name in re.findall(r"`([\w.]+)`", cell)}
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "pipeline_jobs").rglob("*.py"))
    # Those of schedules and endpoints are put together where they are written; `job.created` is an event of a job.
    things = "key|limits|pipeline_limits|tenant|job|jobs|batch|delivery|webhook_secret"
    written = set(re.findall(rf'"((?:{things})\.(?:created|changed|revoked|erased|cancelled|retried|rotated))"', sources)) - {"job.created"}
    assert len(written) >= 10
    assert written - told == set()
