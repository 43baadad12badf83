"""API keys: who may use the HTTP API, as whom, and how far.

A key's text is `pjk_{key_id}_{secret}`, shown once. The store has the SHA-256 of the secret only. A fast hash is right here: the secret is
256 random bits, so there is nothing to guess that a slow hash would make dearer, and it would cost each request milliseconds.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any

from pipeline_jobs.access import audit
from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.job import MAX_MOMENT, rfc3339
from pipeline_jobs.store.keys import Key
from pipeline_jobs.store.readable import readable
from pipeline_jobs.store.store import Store, store_errors
from pipeline_jobs.tenants import NAME, TenantContext

#: Stands for every tenant, as a key's `tenant_id`.
ALL = "*"

#: Families of keys beside those of `keys.KEYS`. None of them is a job's; no EXPIRE: an expired key stays listed.
KEYS: dict[str, Key] = {
    "api_key": Key("api_key:{}", "hash", "An API key. Written by create, revoke, touch; goes by erase, or for a newer one (MAX_KEYS)."),
    "api_keys": Key("api_keys", "zset ms->key_id", "All API keys and when they were made. A member goes with its key."),
    "tenant_api_keys": Key("api_keys:{}", "zset ms->key_id", "Those of a tenant, or of `*`."),
    "api_keys_on": Key("api_keys_on", "string 1", "A key was made once: from then on the API asks for one. Never goes."),
}

#: Most keys of a tenant, revoked and expired ones among them; those make room for a new one, the oldest first.
MAX_KEYS = 1_000
MAX_NAME = 64
#: How exact `last_used_at` is, in ms.
USED_MS = 60_000

KEY_ID = re.compile(r"[0-9a-f]{16}")
_TEXT = re.compile(r"pjk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

#: A repeated call (a lost reply) finds its own key: `hash` says so. Of the keys that are revoked or expired the oldest makes room.
_CREATE = """
local P, id, tenant, hash, limit = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key, mine = P .. 'api_key:' .. id, P .. 'api_keys:' .. tenant
local held = redis.call('hget', key, 'hash')
if held then return {held == hash and 'ok' or 'taken', redis.call('hget', key, 'created_at')} end
local t = redis.call('time')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
if redis.call('zcard', mine) >= limit then
  local gone
  for _, old in ipairs(redis.call('zrange', mine, 0, -1)) do
    local state = redis.call('hmget', P .. 'api_key:' .. old, 'revoked_at', 'expires_at')
    if state[1] or (state[2] and tonumber(state[2]) <= now) then gone = old break end
  end
  if not gone then return {'full', '0'} end
  redis.call('del', P .. 'api_key:' .. gone)
  redis.call('zrem', mine, gone)
  redis.call('zrem', P .. 'api_keys', gone)
end
redis.call('hset', key, 'key_id', id, 'tenant_id', tenant, 'hash', hash, 'created_at', now, unpack(ARGV, 7))
redis.call('zadd', mine, now, id)
redis.call('zadd', P .. 'api_keys', now, id)
redis.call('set', P .. 'api_keys_on', '1')
@AUDIT@
return {'ok', tostring(now)}
"""

#: Only a key of this tenant. At a full server too: that is no reason to let a lost key live.
_REVOKE = """#!lua flags=allow-oom
local P, id, tenant = KEYS[1], ARGV[1], ARGV[2]
local key = P .. 'api_key:' .. id
if redis.call('hget', key, 'tenant_id') ~= tenant then return 0 end
local t = redis.call('time')
if redis.call('hsetnx', key, 'revoked_at', t[1] * 1000 + math.floor(t[2] / 1000)) == 1 then @AUDIT@ end
return 1
"""

#: A key that was erased meanwhile is not brought back as half a record.
_TOUCH = "if redis.call('exists', KEYS[1]) == 1 then redis.call('hset', KEYS[1], 'last_used_at', ARGV[1]) end return 1"

_ERASE = """#!lua flags=allow-oom
local P, tenant = KEYS[1], ARGV[1]
local ids = redis.call('zrange', P .. 'api_keys:' .. tenant, 0, -1)
for _, id in ipairs(ids) do
  redis.call('del', P .. 'api_key:' .. id)
  redis.call('zrem', P .. 'api_keys', id)
end
redis.call('del', P .. 'api_keys:' .. tenant)
return #ids
"""


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
    created_at: int
    expires_at: int | None = None
    #: To the minute.
    last_used_at: int | None = None
    revoked_at: int | None = None
    #: SHA-256 of the secret, in hex.
    hash: str = field(default="", repr=False)

    def is_good(self, now_ms: float) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now_ms < self.expires_at)

    def opens_with(self, secret: str) -> bool:
        """The secret is this key's. Takes the same time for each wrong one."""
        return hmac.compare_digest(self.hash, digest(secret))

    def to_dict(self) -> dict[str, Any]:
        """As the API shows it: no hash, no secret."""
        return {
            "key_id": self.key_id,
            "name": self.name,
            "tenant_id": self.tenant_id,
            "workspace_id": self.workspace_id,
            "role": self.role.value,
            "created_at": rfc3339(self.created_at),
            "expires_at": rfc3339(self.expires_at),
            "last_used_at": rfc3339(self.last_used_at),
            "revoked": self.revoked_at is not None,
            "revoked_at": rfc3339(self.revoked_at),
        }

    @classmethod
    def from_mapping(cls, flat: Mapping[str, str]) -> ApiKey:
        """From what `HGETALL` gave."""
        times = {name: int(flat[name]) for name in ("expires_at", "last_used_at", "revoked_at") if name in flat}
        return cls(
            key_id=flat["key_id"],
            name=flat.get("name", ""),
            tenant_id=flat["tenant_id"],
            workspace_id=flat.get("workspace_id"),
            role=Role(flat["role"]),
            created_at=int(flat["created_at"]),
            hash=flat["hash"],
            **times,
        )


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
        self._store, self._client, self._prefix = store, store.client, store.keys.prefix
        self._scripts = {
            name: self._client.register_script(source.replace("@AUDIT@", added))
            for name, source, added in (
                ("create", _CREATE, audit.part_of_script("ARGV[5]", "key.created", "id", "ARGV[6]")),
                ("revoke", _REVOKE, audit.part_of_script("ARGV[3]", "key.revoked", "id", "ARGV[4]")),
                ("touch", _TOUCH, ""),
                ("erase", _ERASE, ""),
            )
        }

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
        fields = [part for pair in given.items() for part in pair]
        while True:
            key_id = secrets.token_hex(8)
            became, created_at = self._run("create", self._prefix, [key_id, tenant_id, digest(secret), MAX_KEYS, by, detail, *fields])
            if became == "full":
                raise InvalidInput(f"there are {MAX_KEYS} keys already: revoke one", field="tenant_id")
            if became == "ok":
                break
        return ApiKey(key_id, name, tenant_id, workspace_id, role, int(created_at), expires_at), f"pjk_{key_id}_{secret}"

    def get(self, key_id: str) -> ApiKey | None:
        """The key, good or not; None: there is none."""
        if not KEY_ID.fullmatch(key_id):
            return None
        with store_errors():
            flat: Any = self._client.hgetall(self._key("api_key", key_id))
        return ApiKey.from_mapping(flat) if flat else None

    def list(self, tenant_id: str | None = None) -> list[ApiKey]:
        """The keys of a tenant (or of `ALL`), newest first, the revoked and expired ones too. None: every key there is."""
        index = self._key("api_keys") if tenant_id is None else self._key("tenant_api_keys", tenant_id)
        with store_errors():
            ids: Any = self._client.zrevrange(index, 0, -1)
            with self._client.pipeline(transaction=False) as pipe:
                for key_id in ids:
                    pipe.hgetall(self._key("api_key", key_id))
                found: Sequence[Mapping[str, str]] = pipe.execute()
        return list(readable(filter(None, found), ApiKey.from_mapping, kind="key"))

    def revoke(self, tenant_id: str, key_id: str, *, actor: str) -> ApiKey | None:
        """End a key of this tenant for good; may be repeated. :return: the key, or None: the tenant has none with this id."""
        if not KEY_ID.fullmatch(key_id):
            return None
        by, _, _, detail = audit.texts(actor, "", "", {"tenant_id": tenant_id})
        if not self._run("revoke", self._prefix, [key_id, tenant_id, by, detail]):
            return None
        return self.get(key_id)

    def erase(self, tenant_id: str) -> int:
        """Remove every key of a tenant, records and all. The API goes on asking for keys. :return: how many there were."""
        if not NAME.fullmatch(tenant_id):
            raise InvalidInput(f"tenant_id must match {NAME.pattern}", field="tenant_id")
        return int(self._run("erase", self._prefix, [tenant_id]))

    def touch(self, key_id: str, now_ms: int) -> None:
        """Note that the key was used now."""
        self._run("touch", self._key("api_key", key_id), [now_ms])

    def required(self) -> bool:
        """A key was made once, so the API asks for one."""
        with store_errors():
            return bool(self._client.exists(self._key("api_keys_on")))

    def _key(self, name: str, *parts: str) -> str:
        return self._prefix + KEYS[name].pattern.format(*parts)

    def _run(self, name: str, key: str, arguments: Sequence[Any]) -> Any:
        with store_errors():
            return self._scripts[name](keys=[key], args=arguments)
