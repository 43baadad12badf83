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
    """What a caller needs: a key of one of these roles, and `all_tenants`: one that is bound to none. `here`: from this machine no key."""

    #: Nothing. Signed links have a proof of their own.
    PUBLIC = (frozenset[Role](), False)
    #: Any key of all tenants; from this machine none, for it is asked when no key can be looked up. A proxy may show it to anybody.
    PROBE = (_EVERY, True, True)
    #: Any key of all tenants.
    OPERATOR = (_EVERY, True)
    #: Any key.
    READ = (_EVERY, False)
    #: A key that may change something.
    SUBMIT = (_WRITERS, False)
    #: An admin key, of the tenant in the path or of all.
    ADMIN = (_ADMINS, False)
    #: An admin key of all tenants.
    ROOT = (_ADMINS, True)

    def __init__(self, roles: frozenset[Role], all_tenants: bool, here: bool = False) -> None:
        self.roles, self.all_tenants, self.here = roles, all_tenants, here


#: Who may use which routes, by Flask's names for them: `{blueprint}.{function}`.
ROUTES: Mapping[Policy, tuple[str, ...]] = {
    Policy.PUBLIC: (
        "artifacts.artifact", "health.live", "health.accept", "docs.openapi", "docs.page", "docs.static", "swagger.static", "site.page",
        "ui.static", "ui.set_theme", "ui.sign_in", "ui.try_sign_in", "ui.sign_out", "ui.signal_link", "ui.send_by_link",
        "ui.shared", "ui.shared_file",
    ),
    Policy.PROBE: ("health.ready", "health.installation"),
    Policy.OPERATOR: ("metrics.metrics", "scaling.scaling", "ui.fairness", "ui.oncall"),
    Policy.READ: (
        "jobs.list_", "jobs.get", "batches.list_", "batches.get", "workflows.list_", "workflows.get", "workflows.mermaid", "workflows.svg",
        "workflows.events", "schedules.list_", "schedules.get", "pipelines.pipelines",
        "uploads.list_", "uploads.get", "events.history", "events.feed", "events.token", "job_logs.logs", "sockets.follow",
        "sockets.connect", "history.analytics", "history.export", "artifacts.list_", "transcripts.search",
        "deliveries.of_job", "deliveries.list_", "deliveries.get",
        "ui.overview", "ui.jobs", "ui.job", "ui.workflow", "ui.batches", "ui.batch", "ui.schedules", "ui.schedule", "ui.delivery",
        "ui.uploads", "ui.upload", "ui.transcript", "ui.save_view",
    ),
    Policy.SUBMIT: (
        "jobs.create", "jobs.change", "jobs.delete", "cancel.cancel", "retry.retry", "signals.send", "run.run",
        "workflows.create", "workflows.cancel", "workflows.retry", "workflows.delete",
        "batches.create", "batches.cancel", "batches.cancel_jobs", "bulk.bulk", "uploads.create", "uploads.append", "uploads.delete",
        "schedules.create", "schedules.change", "schedules.delete", "schedules.pause", "schedules.resume", "schedules.run",
        "deliveries.redeliver",
        "ui.cancel_workflow", "ui.retry_workflow",
        "ui.cancel", "ui.signal", "ui.retry", "ui.delete", "ui.redeliver", "ui.ask_bulk", "ui.bulk",
        "ui.ask_chosen", "ui.do_chosen", "ui.form", "ui.submit",
        "ui.new_schedule", "ui.make_schedule", "ui.change_schedule",
        "ui.many", "ui.submit_many", "ui.begin_upload", "ui.continue_upload", "ui.delete_upload",
        "ui.share", "ui.change", "ui.change_job",
    ),
    # Where a tenant's results go, and what proves them genuine, is its admin's business.
    Policy.ADMIN: (
        "keys.create", "keys.list_", "keys.revoke", "tenants.limits", "tenants.usage", "audit.of_tenant",
        "webhooks.create", "webhooks.list_", "webhooks.get", "webhooks.change", "webhooks.delete", "webhooks.rotate", "webhooks.test",
        "webhook_secrets.secret", "webhook_secrets.rotate",
        "ui.tenant", "ui.keys", "ui.make_key", "ui.revoke_key", "ui.tenant_audit",
        "ui.webhooks", "ui.make_webhook", "ui.webhook", "ui.change_webhook",
    ),
    # A tenant's admin must not lift the limits that were set for it; and how much of a pipeline is taken tells of all tenants.
    Policy.ROOT: (
        "tenants.set_limits", "tenants.erase", "pipeline_limits.limits", "pipeline_limits.set_limits", "audit.audit",
        "ui.set_limits", "ui.ask_pause", "ui.do_pause", "ui.set_pipeline_limits", "ui.audit",
    ),
}  # fmt: skip

#: The policy of each route.
POLICIES: Mapping[str, Policy] = {route: policy for policy, routes in ROUTES.items() for route in routes}

#: Routes that a token of `POST /pipeline/events/token` may open, too.
STREAMS = frozenset({"events.history", "events.feed", "workflows.events", "job_logs.logs", "sockets.follow", "sockets.connect"})


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
