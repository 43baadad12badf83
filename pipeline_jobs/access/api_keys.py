"""API keys: who may use the HTTP API, as whom, and how far.

A key's text is `pjk_{key_id}_{secret}`, shown once. The store has the SHA-256 of the secret only. A fast hash is right here: the secret is
256 random bits, so there is nothing to guess that a slow hash would make dearer, and it would cost each request milliseconds.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import MAX_MOMENT
from pipeline_jobs.records import HIDDEN, Layout, Moment
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.store import Store
from pipeline_jobs.tenants import TenantContext, check_name

#: Stands for every tenant, as a key's `tenant_id`.
ALL = "*"

#: Most keys of a tenant, revoked and expired ones among them; those make room for a new one, the oldest first.
MAX_KEYS = 1_000
#: Sessions of the page with one key.
MAX_SESSIONS = 100
MAX_NAME = 64
#: How exact `last_used_at` is, in ms.
USED_MS = 60_000

KEY_ID = re.compile(r"[0-9a-f]{16}")
_TEXT = re.compile(r"pjk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Role(StrEnum):
    """How far a key reaches. Each may all that the ones below it may."""

    ADMIN = "admin"
    SUBMIT = "submit"
    READ = "read"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret. Times are Unix milliseconds."""

    key_id: str
    name: str
    #: `*`: of all tenants.
    tenant_id: str
    #: None: of all workspaces of the tenant.
    workspace_id: str | None
    role: Role
    created_at: Moment
    expires_at: Moment | None = None
    #: To the minute.
    last_used_at: Moment | None = None
    revoked_at: Moment | None = None
    #: SHA-256 of the secret, in hex.
    hash: str = field(default="", repr=False, metadata=HIDDEN)

    def is_good(self, now_ms: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now_ms < self.expires_at)

    def opens_with(self, secret: str) -> bool:
        """The secret is this key's. Takes the same time for each wrong one."""
        return hmac.compare_digest(self.hash, digest(secret))

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it: no hash, no secret."""
        return {**_LAYOUT.show(self), "revoked": self.revoked_at is not None}

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> ApiKey:
        """From what `HGETALL` gave."""
        return cls(**_LAYOUT.read({"name": "", **flat}))


_LAYOUT = Layout(ApiKey, Role)


def digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def split(text: str) -> tuple[str, str] | None:
    """`(key_id, secret)` of a key's text, or None: it is not of their form."""
    found = _TEXT.fullmatch(text)
    return (found[1], found[2]) if found else None


def check_scope(tenant_id: str, workspace_id: str | None, role: Role) -> None:
    """:raises InvalidInput: names the field."""
    if tenant_id != ALL:
        TenantContext(tenant_id, workspace_id if workspace_id is not None else tenant_id)
    elif workspace_id is not None:
        raise InvalidInput("a key for all tenants has no workspace", field="workspace_id")
    if role is Role.ADMIN and workspace_id is not None:
        raise InvalidInput("an admin key is for a whole tenant", field="workspace_id")


class KeyStore:
    """The API keys of a cell. Every method raises `StoreUnavailable` when the store cannot be asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(
        self,
        tenant_id: str,
        role: Role,
        *,
        actor: str,
        name: str = "",
        workspace_id: str | None = None,
        expires_at: int | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and its text, which nobody can ask for again.

        :param tenant_id: or `ALL`.
        :param actor: for the audit log.
        :raises InvalidInput: names the field.
        """
        check_scope(tenant_id, workspace_id, role)
        if len(name) > MAX_NAME or _CONTROL.search(name):
            raise InvalidInput(f"name has at most {MAX_NAME} characters, none of them a control character", field="name")
        if expires_at is not None and not time.time() * 1000 < expires_at <= MAX_MOMENT:
            raise InvalidInput("expires_at must be in the future, and before the year 10000", field="expires_at")
        secret = secrets.token_urlsafe(32)
        optional = {"workspace_id": workspace_id, "expires_at": None if expires_at is None else str(expires_at)}
        given = {"name": name, "role": role.value, **{field: value for field, value in optional.items() if value is not None}}
        by, _, _, detail = audit.texts(actor, "", "", {"tenant_id": tenant_id, **given})
        while True:
            key_id = secrets.token_hex(8)
            reply = self._store.run(
                "key_create", id=key_id, tenant=tenant_id, hash=digest(secret), limit=MAX_KEYS, actor=by, detail=detail, fields=given
            )
            if reply.became == "full":
                raise InvalidInput(f"there are {MAX_KEYS} keys already: revoke one", field="tenant_id")
            if reply.became == "ok":
                break
        return ApiKey(key_id, name, tenant_id, workspace_id, role, int(reply.created_at), expires_at), f"pjk_{key_id}_{secret}"

    def get(self, key_id: str) -> ApiKey | None:
        """The key, good or not; None: there is none."""
        if not KEY_ID.fullmatch(key_id):
            return None
        flat = self._store.record("api_key", key_id)
        return ApiKey.from_mapping(flat) if flat else None

    def list(self, tenant_id: str | None = None) -> list[ApiKey]:
        """The keys of a tenant (or of `ALL`), newest first, the revoked and expired ones too. None: every key there is."""
        ids = self._store.members("api_keys") if tenant_id is None else self._store.members("tenant_api_keys", tenant_id)
        found = self._store.records("api_key", [(key_id,) for key_id in reversed(ids)])
        return [*readable(filter(None, found), ApiKey.from_mapping, kind="key")]

    def revoke(self, tenant_id: str, key_id: str, *, actor: str) -> ApiKey | None:
        """End a key of this tenant for good; may be repeated. :return: the key, or None: the tenant has none with this id."""
        if not KEY_ID.fullmatch(key_id):
            return None
        by, _, _, detail = audit.texts(actor, "", "", {"tenant_id": tenant_id})
        if not self._store.run("key_revoke", id=key_id, tenant=tenant_id, actor=by, detail=detail):
            return None
        return self.get(key_id)

    def erase(self, tenant_id: str) -> int:
        """Remove every key of a tenant, records and all. The API goes on asking for keys. :return: how many there were."""
        check_name("tenant_id", tenant_id)
        return int(self._store.run("key_erase", tenant=tenant_id))

    def touch(self, key_id: str, now_ms: int) -> None:
        """Note that the key was used now."""
        self._store.run("key_touch", id=key_id, now=now_ms)

    def begin_session(self, key_id: str, seconds: int, session_id: str | None = None) -> str:
        """Begin a session of the page, which takes the place of the key's oldest one if it has `MAX_SESSIONS`.

        :param session_id: of one that lasts already: its time begins anew.
        :return: its id
        """
        session_id = session_id or secrets.token_hex(8)
        self._store.run("session_begin", key=key_id, id=session_id, kept=seconds, most=MAX_SESSIONS)
        return session_id

    def end_session(self, key_id: str, session_id: str) -> None:
        """For good, in every process; may be repeated."""
        self._store.run("session_end", key=key_id, id=session_id)

    def has_session(self, key_id: str, session_id: str) -> bool:
        """It was begun and has not been ended."""
        return self._store.is_member(session_id, "sessions", key_id)

    def required(self) -> bool:
        """A key was made once, so the API asks for one."""
        return self._store.exists("api_keys_on")
