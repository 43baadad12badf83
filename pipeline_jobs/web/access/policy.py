"""The policy of every route, in one table. A route that is not in it is forbidden to everybody (and fails a test)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from pipeline_jobs.access.api_keys import ALL, Role
from pipeline_jobs.web.access.caller import Caller
from pipeline_jobs.web.problems import Refused

_EVERY = frozenset(Role)
_WRITERS = frozenset({Role.SUBMIT, Role.ADMIN})
_ADMINS = frozenset({Role.ADMIN})


class Policy(Enum):
    """What a caller needs: a key of one of these roles, and `all_tenants`: one that is bound to none."""

    #: Nothing. Signed links have a proof of their own.
    PUBLIC = (frozenset[Role](), False)
    #: Any key of all tenants; from this machine none (`auth`).
    OPERATOR = (_EVERY, True)
    #: Any key.
    READ = (_EVERY, False)
    #: A key that may change something.
    SUBMIT = (_WRITERS, False)
    #: An admin key, of the tenant in the path or of all.
    ADMIN = (_ADMINS, False)
    #: An admin key of all tenants.
    ROOT = (_ADMINS, True)

    def __init__(self, roles: frozenset[Role], all_tenants: bool) -> None:
        self.roles, self.all_tenants = roles, all_tenants


#: By Flask's name of the route: `{blueprint}.{function}`.
POLICIES: Mapping[str, Policy] = {
    "jobs.create": Policy.SUBMIT,
    "jobs.list_": Policy.READ,
    "jobs.get": Policy.READ,
    "jobs.delete": Policy.SUBMIT,
    "cancel.cancel": Policy.SUBMIT,
    "run.run": Policy.SUBMIT,
    "pipelines.pipelines": Policy.READ,
    # A pipeline is everybody's: how much of it is taken tells of all tenants.
    "pipeline_limits.limits": Policy.ROOT,
    "pipeline_limits.set_limits": Policy.ROOT,
    "artifacts.artifact": Policy.PUBLIC,
    "uploads.create": Policy.SUBMIT,
    "uploads.list_": Policy.READ,
    "uploads.get": Policy.READ,
    "uploads.append": Policy.SUBMIT,
    "uploads.delete": Policy.SUBMIT,
    "keys.create": Policy.ADMIN,
    "keys.list_": Policy.ADMIN,
    "keys.revoke": Policy.ADMIN,
    "audit.audit": Policy.ROOT,
    "jobs.change": Policy.SUBMIT,
    "retry.retry": Policy.SUBMIT,
    "batches.create": Policy.SUBMIT,
    "batches.list_": Policy.READ,
    "batches.get": Policy.READ,
    "batches.cancel": Policy.SUBMIT,
    "batches.cancel_jobs": Policy.SUBMIT,
    # A tenant's admin must not lift the limits that were set for it.
    "tenants.limits": Policy.ADMIN,
    "tenants.set_limits": Policy.ROOT,
    "tenants.usage": Policy.ADMIN,
    "tenants.erase": Policy.ROOT,
    "schedules.create": Policy.SUBMIT,
    "schedules.list_": Policy.READ,
    "schedules.get": Policy.READ,
    "schedules.change": Policy.SUBMIT,
    "schedules.delete": Policy.SUBMIT,
    "schedules.pause": Policy.SUBMIT,
    "schedules.resume": Policy.SUBMIT,
    "schedules.run": Policy.SUBMIT,
    "events.history": Policy.READ,
    "events.feed": Policy.READ,
    "events.token": Policy.READ,
    "sockets.follow": Policy.READ,
    "sockets.connect": Policy.READ,
    # Where a tenant's results go, and what proves them genuine, is its admin's business.
    "webhooks.create": Policy.ADMIN,
    "webhooks.list_": Policy.ADMIN,
    "webhooks.get": Policy.ADMIN,
    "webhooks.change": Policy.ADMIN,
    "webhooks.delete": Policy.ADMIN,
    "webhooks.rotate": Policy.ADMIN,
    "webhooks.test": Policy.ADMIN,
    "webhook_secrets.secret": Policy.ADMIN,
    "webhook_secrets.rotate": Policy.ADMIN,
    "deliveries.of_job": Policy.READ,
    "deliveries.list_": Policy.READ,
    "deliveries.get": Policy.READ,
    "deliveries.redeliver": Policy.SUBMIT,
    "metrics.metrics": Policy.OPERATOR,
    "health.live": Policy.PUBLIC,
    "health.ready": Policy.OPERATOR,
    "docs.openapi": Policy.PUBLIC,
    "docs.page": Policy.PUBLIC,
    "docs.static": Policy.PUBLIC,
    "swagger.static": Policy.PUBLIC,
    "ui.static": Policy.PUBLIC,
    "ui.sign_in": Policy.PUBLIC,
    "ui.try_sign_in": Policy.PUBLIC,
    "ui.sign_out": Policy.PUBLIC,
    "ui.overview": Policy.READ,
    "ui.jobs": Policy.READ,
    "ui.job": Policy.READ,
    "ui.cancel": Policy.SUBMIT,
    "ui.retry": Policy.SUBMIT,
    "ui.delete": Policy.SUBMIT,
    "ui.form": Policy.SUBMIT,
    "ui.submit": Policy.SUBMIT,
    "ui.tenant": Policy.ADMIN,
    "ui.set_limits": Policy.ROOT,
}

#: Routes that a token of `POST /pipeline/events/token` may open, too.
STREAMS = frozenset({"events.history", "events.feed", "sockets.follow", "sockets.connect"})


def check(policy: Policy, caller: Caller, path: Mapping[str, Any]) -> None:
    """Hold a caller against a policy, and against the tenant in the path, if there is one.

    :raises Refused: 403; names `tenant_id` where that is to blame. Whether there is such a tenant it does not tell.
    """
    if caller.role not in policy.roles:
        allowed = " or ".join(role.value for role in Role if role in policy.roles)
        raise Refused(403, "forbidden", f"this requires a key with the role {allowed}; yours has the role {caller.role.value}")
    if policy.all_tenants and caller.tenant_id != ALL:
        raise Refused(403, "forbidden", "this requires a key for all tenants")
    if "tenant_id" in path:
        if caller.tenant_id not in (ALL, path["tenant_id"]):
            raise Refused(403, "foreign_tenant", "tenant_id: your key belongs to another tenant", field="tenant_id")
        if caller.workspace_id is not None:
            raise Refused(403, "forbidden", "this requires a key for the whole tenant; yours is for one workspace")
