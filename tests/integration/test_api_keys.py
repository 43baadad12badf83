"""API keys, the audit log and their command on a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline_jobs import cli
from pipeline_jobs.access import api_keys, audit
from pipeline_jobs.access.api_keys import ALL, KeyStore, Role, digest, split
from pipeline_jobs.exceptions import InvalidInput, StoreUnavailable
from tests.cases import each
from tests.integration.conftest import Cell

FUTURE = 32_503_680_000_000


@pytest.fixture
def keys(jobs: Cell) -> KeyStore:
    return KeyStore(jobs.store)


def everything(jobs: Cell) -> str:
    """Every key of the server with its value, as text."""
    client = jobs.store.client
    read: dict[str, Callable[[str], Any]] = {
        "string": client.get, "hash": client.hgetall, "stream": client.xrange, "set": client.smembers,
        "zset": lambda name: client.zrange(name, 0, -1, withscores=True), "list": lambda name: client.lrange(name, 0, -1),
    }  # fmt: skip
    return "\n".join(f"{name} {read[client.type(name)](name)}" for name in client.keys("*"))


class TestKeys:
    def test_a_key_is_stored_without_its_secret(self, keys: KeyStore, jobs: Cell) -> None:
        key, text = keys.create("acme", Role.SUBMIT, actor="test", name="ci", workspace_id="blog", expires_at=FUTURE)
        parts = split(text)
        assert parts is not None
        assert parts[0] == key.key_id
        # 256 bits, and what is stored is their SHA-256.
        assert len(parts[1]) == 43
        stored = keys.get(key.key_id)
        assert stored is not None
        assert (stored.hash, stored.name, stored.tenant_id, stored.workspace_id) == (digest(parts[1]), "ci", "acme", "blog")
        assert (stored.role, stored.expires_at, stored.revoked_at, stored.last_used_at) == (Role.SUBMIT, FUTURE, None, None)
        assert stored.to_dict() == key.to_dict()
        assert stored.opens_with(parts[1])
        assert not stored.opens_with(parts[1][:-1])
        assert parts[1] not in everything(jobs)
        assert digest(parts[1]) not in repr(stored) + str(stored.to_dict())

    def test_no_two_are_alike(self, keys: KeyStore) -> None:
        texts = [keys.create("acme", Role.READ, actor="test")[1] for _ in range(50)]
        assert len({split(text) for text in texts}) == 50

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"tenant_id": "-"}, "tenant_id"), ({"tenant_id": ""}, "tenant_id"), ({"workspace_id": "a b"}, "workspace_id"),
            ({"workspace_id": ""}, "workspace_id"), ({"tenant_id": ALL, "workspace_id": "blog"}, "workspace_id"),
            ({"role": Role.ADMIN, "workspace_id": "blog"}, "workspace_id"), ({"name": "a\n"}, "name"), ({"name": "x" * 65}, "name"),
            ({"expires_at": 1}, "expires_at"), ({"expires_at": 2**60}, "expires_at"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named_and_nothing_is_made(self, keys: KeyStore, changes: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            keys.create(**{"tenant_id": "acme", "role": Role.READ, "actor": "test", **changes})
        assert caught.value.field == field
        assert keys.list() == []
        assert not keys.required()

    def test_lists_are_newest_first_by_tenant(self, keys: KeyStore) -> None:
        made = [keys.create(tenant, Role.READ, actor="test")[0] for tenant in ("acme", "other", ALL, "acme")]
        assert [key.tenant_id for key in keys.list()].count("acme") == 2
        assert {key.key_id for key in keys.list()} == {key.key_id for key in made}
        assert {key.key_id for key in keys.list("acme")} == {made[0].key_id, made[3].key_id}
        assert [key.created_at for key in keys.list()] == sorted((key.created_at for key in keys.list()), reverse=True)
        assert [key.key_id for key in keys.list(ALL)] == [made[2].key_id]
        assert keys.list("nobody") == []

    def test_a_revocation_is_for_good_and_by_its_tenant_only(self, keys: KeyStore) -> None:
        key, _ = keys.create("acme", Role.READ, actor="test")
        for tenant, key_id in (("other", key.key_id), (ALL, key.key_id), ("acme", "0" * 16), ("acme", "x"), ("acme", "")):
            assert keys.revoke(tenant, key_id, actor="test") is None
        first = keys.revoke("acme", key.key_id, actor="test")
        assert first is not None
        assert not first.is_good(time.time() * 1000)
        assert keys.revoke("acme", key.key_id, actor="test") == first
        assert [row.action for row in audit.page(keys._store).items] == ["key.revoked", "key.created"]
        assert keys.get("0" * 16) is None, "a refused revocation left half a key"

    def test_a_repeated_create_is_one(self, keys: KeyStore) -> None:
        fields = {"name": "", "role": "read"}
        arguments: dict[str, Any] = {"id": "0" * 16, "tenant": "acme", "limit": 10, "actor": "test", "detail": "{}", "fields": fields}
        first, again = (keys._store.run("key_create", **arguments, hash=digest("s")) for _ in range(2))
        assert first == again
        assert first.became == "ok"
        assert keys._store.run("key_create", **arguments, hash=digest("t")).became == "taken"
        assert len(keys.list()) == 1
        assert len(audit.page(keys._store).items) == 1

    def test_dead_keys_make_room_and_live_ones_do_not(self, keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api_keys, "MAX_KEYS", 3)
        first, second, third = (keys.create("acme", Role.READ, actor="test")[0].key_id for _ in range(3))
        with pytest.raises(InvalidInput, match="revoke one"):
            keys.create("acme", Role.READ, actor="test")
        keys.create("other", Role.READ, actor="test")
        keys.revoke("acme", second, actor="test")
        fourth = keys.create("acme", Role.READ, actor="test")[0].key_id
        assert {key.key_id for key in keys.list("acme")} == {first, third, fourth}
        assert keys.get(second) is None
        assert len(keys.list()) == 4

    def test_an_expired_one_makes_room_too(self, keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(api_keys, "MAX_KEYS", 1)
        expired, _ = keys.create("acme", Role.READ, actor="test", expires_at=FUTURE)
        keys._store.client.hset(keys._store.keys("api_key", expired.key_id), "expires_at", 1)
        key, _ = keys.create("acme", Role.READ, actor="test")
        assert [one.key_id for one in keys.list("acme")] == [key.key_id]

    def test_once_made_keys_are_asked_for_for_ever(self, keys: KeyStore, jobs: Cell) -> None:
        assert not keys.required()
        key, _ = keys.create("acme", Role.READ, actor="test")
        assert keys.required()
        keys.revoke("acme", key.key_id, actor="test")
        assert keys.erase("acme") == 1
        assert (keys.list(), keys.get(key.key_id), keys.required()) == ([], None, True)

    def test_erasing_a_tenant_takes_its_keys_only(self, keys: KeyStore) -> None:
        for tenant in ("acme", "acme", "acme2", ALL):
            keys.create(tenant, Role.READ, actor="test")
        assert keys.erase("acme") == 2
        assert {key.tenant_id for key in keys.list()} == {"acme2", ALL}
        for odd in (ALL, "", "a*"):
            with pytest.raises(InvalidInput):
                keys.erase(odd)

    def test_a_touch_brings_no_erased_key_back(self, keys: KeyStore) -> None:
        key, _ = keys.create("acme", Role.READ, actor="test")
        keys.touch(key.key_id, 1234)
        found = keys.get(key.key_id)
        assert found is not None
        assert found.last_used_at == 1234
        keys.erase("acme")
        keys.touch(key.key_id, 5678)
        assert keys.get(key.key_id) is None

    def test_a_full_server_makes_no_key_but_revokes_one(self, keys: KeyStore, jobs: Cell) -> None:
        key, _ = keys.create("acme", Role.READ, actor="test")
        before = jobs.store.client.config_get("maxmemory")["maxmemory"]
        jobs.store.client.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreUnavailable):
                keys.create("acme", Role.READ, actor="test")
            assert keys.revoke("acme", key.key_id, actor="test") is not None
            audit.record(jobs.store, "test", "limits.changed", "acme", {"weight": 2})
        finally:
            jobs.store.client.config_set("maxmemory", before)
        assert [row.action for row in audit.page(jobs.store).items] == ["limits.changed", "key.revoked", "key.created"]


class TestAudit:
    def test_pages_go_on_where_the_last_one_ended(self, jobs: Cell) -> None:
        for number in range(7):
            audit.record(jobs.store, "a", "limits.changed", f"t{number}", {"number": number})
        seen, cursor = [], None
        while True:
            page = audit.page(jobs.store, cursor, 3)
            seen += [row.target for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            audit.record(jobs.store, "a", "limits.changed", "later")
        assert seen == ["t6", "t5", "t4", "t3", "t2", "t1", "t0"]
        assert audit.page(jobs.store, limit=100).next_cursor is None

    @each("cursor", ["", "x", "1", "-", "+", "1-1 ", "(1-1", "9" * 16 + "-0", "$"])
    def test_a_cursor_that_no_page_gave_is_refused(self, jobs: Cell, cursor: str) -> None:
        with pytest.raises(InvalidInput):
            audit.page(jobs.store, cursor)

    @pytest.mark.parametrize(("action", "key", "most"), [("key.x", "audit", 50_000), ("job.x", "audit_work", 10_000)])
    def test_it_is_capped(self, jobs: Cell, action: str, key: str, most: int) -> None:
        with jobs.store.client.pipeline(transaction=False) as pipe:
            for number in range(1, most + 1):
                pipe.xadd(jobs.store.keys(key), {"actor": "a"}, id=f"1-{number}")
            pipe.execute()
        for number in range(300):
            audit.record(jobs.store, "a", action, str(number))
        assert most <= jobs.store.client.xlen(jobs.store.keys(key)) < most + 200
        assert audit.page(jobs.store).items[0].target == "299"

    def test_a_secret_that_was_handed_to_it_is_struck_out(self, jobs: Cell, keys: KeyStore) -> None:
        _, text = keys.create("acme", Role.READ, actor="test", name="first")
        secret = text.split("_", 2)[2]
        audit.record(jobs.store, text, text, text, {text: text, "deep": [{"a": text}]})
        _, other = keys.create("acme", Role.READ, actor="test", name=text[:64])
        assert secret[:40] not in str(audit.page(jobs.store).items)
        assert other.split("_", 2)[2] not in everything(jobs)

    def test_a_row_is_cut_not_refused(self, jobs: Cell) -> None:
        audit.record(jobs.store, "é" * 5000, "b", "\0\n", {"x": "y" * 50_000})
        (row,) = audit.page(jobs.store).items
        assert (len(row.actor), row.target) == (audit.MAX_TEXT, "\0\n")
        assert set(row.detail) == {"cut"}

    def test_many_at_once_lose_none(self, jobs: Cell) -> None:
        threads = [threading.Thread(target=lambda: [audit.record(jobs.store, "a", "b", "c") for _ in range(20)]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(audit.page(jobs.store, limit=1000).items) == 100


@pytest.fixture
def run(jobs: Cell) -> Callable[..., Result]:
    """`run("key", "list")`: `celery -A celery_app jobs key list`."""
    app = SimpleNamespace(cell=jobs.cell)
    return lambda *arguments: CliRunner().invoke(cli.jobs, arguments, obj=SimpleNamespace(app=app))


Run = Callable[..., Result]
ODD_TIMES = ("", "0d", "5", "d", "-1d", "1.5h", "5y", "1234567d", "²d")


class TestCommand:
    def test_the_text_stands_alone_on_standard_output(self, run: Run, keys: KeyStore) -> None:
        done = run("key", "create", "--all-tenants", "--role", "admin", "--name", "first")
        assert done.exit_code == 0, done.output
        parts = split(done.stdout.removesuffix("\n"))
        assert parts is not None
        key = keys.get(parts[0])
        assert key is not None
        assert (key.tenant_id, key.role, key.name, key.opens_with(parts[1])) == (ALL, Role.ADMIN, "first", True)
        assert key.key_id in done.stderr
        assert parts[1] not in done.stderr

    def test_a_key_of_a_workspace_that_expires(self, run: Run, keys: KeyStore) -> None:
        done = run("key", "create", "--tenant", "acme", "--workspace", "blog", "--role", "submit", "--expires-in", "2h")
        key = keys.list("acme")[0]
        assert (done.exit_code, key.workspace_id) == (0, "blog")
        assert key.expires_at is not None
        assert key.is_good(key.expires_at - 1)
        assert not key.is_good(key.expires_at)

    @pytest.mark.parametrize(
        "arguments",
        [
            (), ("--role", "read"), ("--tenant", "acme"), ("--tenant", "acme", "--all-tenants", "--role", "read"),
            ("--tenant", "acme", "--role", "root"), ("--tenant", "-", "--role", "read"),
            ("--tenant", "a", "--role", "read", "--name", "x" * 65),
            ("--all-tenants", "--workspace", "w", "--role", "read"), ("--tenant", "a", "--workspace", "w", "--role", "admin"),
            *(("--tenant", "a", "--role", "read", "--expires-in", odd) for odd in ODD_TIMES),
        ],
    )  # fmt: skip
    def test_what_it_does_not_take_makes_no_key(self, run: Run, keys: KeyStore, arguments: tuple[str, ...]) -> None:
        done = run("key", "create", *arguments)
        assert done.exit_code != 0
        assert isinstance(done.exception, SystemExit), done.exception
        assert keys.list() == []

    def test_listed_and_revoked(self, run: Run, keys: KeyStore) -> None:
        key, text = keys.create("acme", Role.READ, actor="test", name="ci")
        other, _ = keys.create("other", Role.READ, actor="test")
        for arguments in (("key", "list", "--tenant", "acme"), ("key", "list", "--tenant", "acme", "--json")):
            listed = run(*arguments).stdout
            assert key.key_id in listed
            assert other.key_id not in listed
            assert text.split("_", 2)[2] not in listed
        assert "acme/*" in run("key", "list").stdout
        assert run("key", "revoke", key.key_id).exit_code == 0
        assert "revoked" in run("key", "list").stdout
        found = keys.get(key.key_id)
        assert found is not None
        assert found.revoked_at is not None

    def test_a_whole_key_given_for_its_id_is_not_repeated(self, run: Run, keys: KeyStore) -> None:
        _, text = keys.create("acme", Role.READ, actor="test")
        done = run("key", "revoke", text)
        assert done.exit_code == 1
        assert text not in done.output

    def test_what_it_did_is_in_the_audit_log(self, run: Run, jobs: Cell) -> None:
        made = run("key", "create", "--tenant", "acme", "--role", "read", "--name", "ci")
        key_id = made.stdout.split("_")[1]
        run("key", "revoke", key_id)
        rows = json.loads(run("audit", "--json").stdout)
        assert [(row["action"], row["target"], row["detail"].get("role")) for row in rows] == [
            ("key.revoked", key_id, None), ("key.created", key_id, "read"),
        ]  # fmt: skip
        assert all(row["actor"].startswith("cli:") and "@" in row["actor"] for row in rows)
        table = run("audit").stdout
        assert "tenant_id=acme" in table
        assert made.stdout.strip() not in table + str(rows)
        assert len(run("audit", "--limit", "1").stdout.splitlines()) == 2

    def test_jobs_are_shown_and_listed(self, run: Run, jobs: Cell) -> None:
        mine, other = jobs.submit(tenant_id="acme"), jobs.submit(tenant_id="other")
        jobs.client.cancel(other.job_id)
        assert json.loads(run("show", mine.job_id).stdout)["tenant_id"] == "acme"
        assert run("show", "job_1_00000000").exit_code == 1
        assert len(run("list").stdout.splitlines()) == 3
        assert [job["job_id"] for job in json.loads(run("list", "--tenant", "acme", "--json").stdout)] == [mine.job_id]
        assert mine.job_id not in run("list", "--status", "cancelled").stdout
        assert "100%" not in run("list", "--limit", "1").stdout

    def test_of_another_app_it_says_what_is_missing(self) -> None:
        done = CliRunner().invoke(cli.jobs, ["list"], obj=SimpleNamespace(app=SimpleNamespace()))
        assert done.exit_code == 1
        assert "-A celery_app" in done.output


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (["/opt/bin/celery", "-A", "celery_app", "flower"], "flower"),
        (["/opt/bin/celery", "-A", "celery_app", "control", "revoke", "x"], "cli"),
        (["/opt/lib/celery/__main__.py", "-A", "celery_app", "control", "revoke", "x"], "cli"),
        (["nightly.py"], "code"),
        ([""], "code"),
    ],
)
def test_who_a_process_acts_for(monkeypatch: pytest.MonkeyPatch, command: list[str], word: str) -> None:
    monkeypatch.setattr("sys.argv", command)
    assert audit.process_actor().startswith(f"{word}:")
