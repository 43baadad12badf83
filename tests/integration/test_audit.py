"""The audit log: streams that are read as one, of which each class and tenant fills only its own."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline_jobs.access import audit
from pipeline_jobs.access.api_keys import KeyStore, Role
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.tenants import TenantLimits
from tests.commands import commands
from tests.integration.conftest import Cell

ROOT = Path(__file__).resolve().parents[2]
#: As many rows are kept of the installation's daily work, and of a tenant's classes (`lua/lib/audit.lua`).
WORK_ROWS = 10_000
TENANT_ROWS = {"security": 10_000, "work": 2_000}
CLASSES = {"schedule.paused": "work", "webhook_endpoint.created": "security"}
#: The server trims whole blocks, of 100 entries by default.
BLOCK = 100
#: Whatever these do to an installation must stay to be seen.
SECURITY = ("key.created", "key.revoked", "limits.changed", "pipeline_limits.changed", "tenant.erased", "webhook_endpoint.created")
DAILY = ("schedule.paused", "schedule.run", "job.cancelled", "job.retried", "job.deleted", "jobs.cancelled", "jobs.retried", "jobs.deleted",
    "batch.cancelled", "delivery.retried",
)  # fmt: skip


def write(jobs: Cell, tenant_id: str, action: str, count: int) -> None:
    """Rows with the targets `s0`, `s1`, ... Sent together: one trip each would take the time of all the other tests."""
    row = {"kind": CLASSES[action], "tenant": tenant_id, "actor": "key:1", "action": action, "detail": "{}"}
    jobs.store.run_each("audit", [{**row, "target": f"s{number}"} for number in range(count)])


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
    write(jobs, audit.INSTALLATION, "schedule.paused", WORK_ROWS + 150)
    rows = everything(jobs, 5000)
    assert [(row.action, row.target) for row in rows[-2:]] == [("limits.changed", "acme"), ("key.created", key.key_id)]
    daily = rows[:-2]
    assert [row.target for row in daily] == [f"s{number}" for number in range(WORK_ROWS + 149, -1, -1)][: len(daily)]
    assert WORK_ROWS <= len(daily) <= WORK_ROWS + BLOCK


@pytest.mark.parametrize("action", CLASSES)
def test_a_tenant_that_fills_the_log_pushes_out_its_own_rows_of_that_class_only(jobs: Cell, action: str) -> None:
    most = TENANT_ROWS[CLASSES[action]]
    for tenant_id in ("greedy", "victim", audit.INSTALLATION):
        for each in CLASSES:
            audit.record(jobs.store, "test", each, f"first of {tenant_id}", tenant_id=tenant_id)
    write(jobs, "greedy", action, most + 150)
    rows = everything(jobs, 5000)
    kept = [row for row in rows if row.target.startswith("s")]
    assert (most <= len(kept) <= most + BLOCK, kept[0].target) == (True, f"s{most + 149}")
    firsts = [(row.action, row.target.removeprefix("first of ")) for row in reversed(rows) if row.target.startswith("first")]
    expected = [(each, tenant_id) for tenant_id in ("greedy", "victim", audit.INSTALLATION) for each in CLASSES]
    assert firsts == [one for one in expected if one != (action, "greedy")]
    assert jobs.store.sizes([("audit_order",)]) == [len(rows)]


def test_a_tenants_admin_cannot_push_out_what_was_done_to_the_tenant(jobs: Cell) -> None:
    """Its keys and endpoints are rows of its own; its limits and its erasure are the installation's."""
    _, _ = KeyStore(jobs.store).create("acme", Role.ADMIN, actor="test")
    _, _ = KeyStore(jobs.store).create("*", Role.ADMIN, actor="test")
    jobs.client.set_limits("acme", TenantLimits(weight=2), actor="test")
    keys, client = jobs.store.keys, jobs.store.client
    own = client.xrange(keys("tenant_audit", "security", "acme"))
    assert [row["action"] for _, row in own] == ["key.created"]
    assert [row["action"] for _, row in client.xrange(keys("audit"))] == ["key.created", "limits.changed"]


def test_a_row_goes_when_its_time_has_come_whosever_it_is(jobs: Cell) -> None:
    store, now = jobs.store, jobs.store.now()
    fields = {"actor": "test", "action": "x", "target": "old", "detail": "{}"}
    names = [("audit",), ("audit_work",), *(("tenant_audit", kind, f"t{n}") for kind in TENANT_ROWS for n in range(25))]
    for index in names:
        for ms, target in ((1, "oldest"), (now - 700_000, "old"), (now - 500_000, "young")):
            store.client.xadd(store.keys(*index), {**fields, "target": target}, id=f"{ms}-1")
        if len(index) > 1:
            # Whoever writes a tenant's first row names its stream.
            store.client.zadd(store.keys("audit_streams"), {":".join(index[1:]): 1})
    gone = ("tenant_audit", "work", "gone")
    audit.record(store, "test", "schedule.run", "new", tenant_id="gone")
    for kind, action in (("security", "webhook_endpoint.created"), ("work", "schedule.run")):
        for whose in (audit.INSTALLATION, *(f"t{n}" for n in range(25))):
            audit.record(store, kind, action, "new", tenant_id=whose)
    audit.order(store)
    store.client.delete(store.keys(*gone))
    store.client.zadd(store.keys("audit_streams"), {"work:gone": 1})
    for _ in range(2):
        jobs.with_settings(audit_retention_seconds=600).cell.duties["purge"]()
        assert {row.target for row in everything(jobs, 5000)} == {"young", "new"}
        assert all(store.client.xlen(store.keys(*index)) == 2 for index in names)
        assert not store.client.exists(store.keys(*gone))
        assert len(store.members("audit_streams")) == len(names)
        # One row went with its stream, which nothing here does; it is passed over.
        assert store.sizes([("audit_order",)]) == [2 * len(names) + 1]
    # Nothing is left that the next look would have to see.
    assert not any(store.run("audit_sweep", kept=600.0, limit=1) for _ in range(2))


def test_the_rows_of_the_version_before_stay_and_its_processes_write_on(jobs: Cell) -> None:
    """It knows two streams, and no index; its ids are later than any in those two."""
    client, keys = jobs.store.client, jobs.store.keys
    fields = {"actor": "old", "target": "x", "detail": "{}"}
    for number, key in enumerate(("audit", "audit_work")):
        client.xadd(keys(key), {**fields, "action": f"old {number}"}, id=f"{1_700_000_000_000 + number}-0")
    assert [row.action for row in everything(jobs, 1)] == ["old 1", "old 0"]
    audit.record(jobs.store, "test", "schedule.run", "x", tenant_id="acme")
    client.xadd(keys("audit_work"), {**fields, "action": "old 2"}, id="9999999999999-0")
    # Whoever writes a row of the installation's looks for that; those of tenants are behind it from then on.
    audit.record(jobs.store, "test", "limits.changed", "acme")
    audit.record(jobs.store, "test", "webhook_endpoint.created", "x", tenant_id="acme")
    actions = [row.action for row in everything(jobs, 1)]
    assert actions == ["webhook_endpoint.created", "limits.changed", "old 2", "schedule.run", "old 1", "old 0"]


def test_a_page_costs_as_many_commands_as_it_has_rows_however_many_tenants_there_are(jobs: Cell) -> None:
    tenants = 500
    for kind, action in (("security", "webhook_endpoint.created"), ("work", "schedule.run")):
        row = {"kind": kind, "actor": "test", "action": action, "target": "x", "detail": "{}"}
        jobs.store.run_each("audit", [{**row, "tenant": f"t{number}"} for number in range(tenants)])
    cursor, costs = None, list[int]()
    while not costs or cursor is not None:
        with commands(jobs.store.client) as given:
            page = audit.page(jobs.store, cursor, 25)
            costs.append(given.so_far().total())
        cursor = page.next_cursor
    assert (len(costs), len(page.items)) == (2 * tenants / 25, 25)
    assert max(costs) <= 25 + 12, costs
    assert sum(costs) < 2 * len(costs) * 25


def old_version_writes(jobs: Cell, tenant_id: str, action: str, target: str) -> None:
    """What the script of the version before does, which knows no order."""
    store = jobs.store
    ms, _, number = (store.text("audit_last") or "0-0").partition("-")
    row_id = f"{max(int(ms), store.now())}-{int(number) + 1}"
    fields = {"actor": "old", "action": action, "target": target, "detail": "{}"}
    kind = "work" if action.startswith(audit.WORK) else "security"
    names = {"security": ["audit"], "work": ["audit_work"]}[kind] if tenant_id == audit.INSTALLATION else ["tenant_audit", kind, tenant_id]
    store.client.set(store.keys("audit_last"), row_id)
    store.client.xadd(store.keys(*names), fields, id=row_id)
    store.client.zadd(store.keys("audit_streams"), {f"{kind}:{tenant_id}": row_id.partition("-")[0]}, nx=True)


def is_ordered(jobs: Cell) -> bool:
    return bool(jobs.store.run("audit_order", named="", ended=False))


@pytest.mark.parametrize("seed", range(3))
def test_what_the_version_before_writes_beside_is_read_in_its_place_and_put_in_order(jobs: Cell, seed: int) -> None:
    draw = random.Random(seed)
    written: list[tuple[str, str]] = []

    def some(*writers: str, count: int) -> None:
        for _ in range(count):
            action, tenant, number = draw.choice((*SECURITY[2:], *DAILY)), draw.choice((audit.INSTALLATION, "a", "b")), str(len(written))
            if draw.choice(writers) == "old":
                old_version_writes(jobs, tenant, action, number)
            else:
                audit.record(jobs.store, "test", action, number, tenant_id=tenant)
            written.append((action, number))
            assert [row.target for row in audit.page(jobs.store, limit=3).items] == [target for _, target in written[:-4:-1]]

    some("old", count=10)
    for writers in (("new",), ("old", "new"), ("old",), ("new",)):
        some(*writers, count=15)
        assert not is_ordered(jobs)
        assert [(row.action, row.target) for row in reversed(everything(jobs, 7))] == written
    jobs.cell.duties["purge"]()
    assert is_ordered(jobs)
    some("new", count=5)
    assert is_ordered(jobs)
    assert [(row.action, row.target) for row in reversed(everything(jobs, 7))] == written


def test_rows_are_not_in_order_if_the_version_before_wrote_while_they_were_put_there(jobs: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    old_version_writes(jobs, "a", "schedule.run", "0")
    run, store = jobs.store.run, jobs.store

    def meanwhile(script: str, /, **arguments: Any) -> Any:
        reply = run(script, **arguments)
        if script == "audit_order_rows" and arguments["tenant"] == "a":
            for _ in range(2):
                old_version_writes(jobs, "a", "schedule.run", "1")
                run("audit", kind="work", tenant="b", actor="test", action="schedule.run", target="2", detail="{}")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(store, "run", meanwhile)
        audit.order(store)
    assert not is_ordered(jobs)
    assert [row.target for row in everything(jobs, 2)] == ["2", "1", "2", "1", "0"]
    audit.order(store)
    assert is_ordered(jobs)
    assert [row.target for row in everything(jobs, 2)] == ["2", "1", "2", "1", "0"]


@pytest.mark.parametrize("tenants", [1, 60])
def test_the_export_has_every_row_once_in_its_order_from_any_cursor(jobs: Cell, tenants: int) -> None:
    for number in range(150):
        audit.record(jobs.store, "test", "schedule.run", str(number), tenant_id=f"t{number % tenants}")
    exported = list(audit.rows(jobs.store))
    assert [row.target for row in exported] == [str(number) for number in reversed(range(150))]
    assert list(audit.rows(jobs.store, exported[99].row_id)) == exported[100:]
    assert [json.loads(row.to_line()) for row in exported] == [row.to_dict() for row in exported]
    with pytest.raises(InvalidInput):
        audit.rows(jobs.store, "x")


@pytest.mark.parametrize("seed", range(5))
def test_any_mix_is_read_in_the_order_it_was_written_page_by_page(jobs: Cell, seed: int) -> None:
    draw = random.Random(seed)
    written = []
    keys = KeyStore(jobs.store)
    for number in range(120):
        action = draw.choice((*SECURITY[2:], *DAILY, "made"))
        if action == "made":
            written.append(("key.created", keys.create(draw.choice(("acme", "*")), Role.READ, actor="test")[0].key_id))
            continue
        audit.record(jobs.store, "test", action, str(number), tenant_id=draw.choice((audit.INSTALLATION, "acme", "globex")))
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
