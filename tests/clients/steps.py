"""What is asked of each client: every operation of the document once, in an order in which each finds what it needs.

Both runners (`call_all.py`, `call_all.mjs`) read it as JSON. `$NAME` stands for what an earlier step kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TENANT = "acme"
SLEEP: dict[str, Any] = {"pipeline": "sleep", "params": {"seconds": 0}}
LATER = {**SLEEP, "tenant_id": TENANT, "run_at": "2099-01-01T00:00:00Z"}
PIECE = "12 bytes now"


@dataclass(frozen=True)
class Step:
    """One call."""

    operation: str
    path: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    #: Bytes to send, as text.
    content: str | None = None
    #: What is kept of the answer, by dotted paths in it.
    keep: dict[str, str] = field(default_factory=dict)
    #: Only where the good answer cannot be had: the status of the problem that is wanted.
    refused: int | None = None
    #: Called again until this part of the answer, by its dotted path, has this value.
    until: dict[str, Any] = field(default_factory=dict)


JOB = {"job_id": "$job"}
OF_TENANT = {"tenant_id": TENANT}

STEPS = (
    # Jobs. The runner has made `$film`, a job of the built-in pipeline that has ended, with `$artifact` and `$signature` of a file.
    Step("create_job", body=LATER, keep={"job": "job_id"}),
    Step("get_job", JOB),
    Step("list_jobs", query=OF_TENANT),
    Step("change_job", JOB, body={"priority": 5}),
    Step("list_job_events", JOB),
    Step("list_events", query=OF_TENANT),
    Step("create_stream_token", body={"job_id": "$job"}),
    Step("open_job_websocket", JOB, refused=426),
    Step("cancel_job", JOB),
    Step("retry_job", JOB, body={}, keep={"again": "job_id"}),
    Step("cancel_or_delete_job", JOB),
    Step("read_job_log", {"job_id": "$film"}),
    Step("search_transcript", {"job_id": "$film"}, {"q": "welcome"}),
    Step("download_file", {"path": "$artifact"}, {"signature": "$signature"}),
    Step("list_kept_files", query=OF_TENANT),
    Step("create_job", body={"pipeline": "nightly-report", "params": {"rows": []}, "tenant_id": TENANT}, keep={"report": "job_id"}),
    Step("get_job", {"job_id": "$report"}, until={"awaits": "approval"}),
    Step("send_signal", {"job_id": "$report", "signal": "approval"}, body={"payload": {"approved": True}}),
    Step("change_jobs_in_bulk", body={"action": "cancel", "filter": {"tenant_id": TENANT}, "dry_run": True}),
    Step("cancel_jobs", body={"tenant_id": TENANT, "status": ["queued"], "dry_run": True}),
    Step("run_pipeline", body={**SLEEP, "tenant_id": TENANT}),
    # Batches and workflows.
    Step("create_batch", body={"jobs": [SLEEP, SLEEP], "tenant_id": TENANT}, keep={"batch": "batch_id"}),
    Step("get_batch", {"batch_id": "$batch"}),
    Step("list_batches", query=OF_TENANT),
    Step("cancel_batch", {"batch_id": "$batch"}),
    Step(
        "create_workflow",
        body={"jobs": [{"name": "a", **SLEEP}, {"name": "b", **SLEEP, "depends_on": ["a"]}], "tenant_id": TENANT},
        keep={"workflow": "batch_id"},
    ),
    Step("get_workflow", {"workflow_id": "$workflow"}, until={"status": "completed"}),
    Step("list_workflows", query=OF_TENANT),
    Step("get_workflow_mermaid", {"workflow_id": "$workflow"}),
    Step("get_workflow_svg", {"workflow_id": "$workflow"}),
    Step("list_workflow_events", {"workflow_id": "$workflow"}),
    Step(
        "create_workflow", body={"jobs": [{"name": "a", **SLEEP, "run_at": LATER["run_at"]}], "tenant_id": TENANT}, keep={"w": "batch_id"}
    ),
    Step("cancel_workflow", {"workflow_id": "$w"}),
    Step("retry_workflow", {"workflow_id": "$w"}),
    Step("cancel_or_delete_workflow", {"workflow_id": "$w"}),
    # Uploads.
    Step("start_upload", query=OF_TENANT, headers={"Upload-Length": str(len(PIECE))}, keep={"upload": "upload_id"}),
    Step("continue_upload", {"upload_id": "$upload"}, headers={"Upload-Offset": "0"}, content=PIECE),
    Step("get_upload", {"upload_id": "$upload"}, until={"complete": True}),
    Step("list_uploads", query=OF_TENANT),
    Step("delete_upload", {"upload_id": "$upload"}),
    # Pipelines, tenants, keys.
    Step("list_pipelines"),
    Step("set_pipeline_limits", {"pipeline": "sleep"}, body={"max_concurrent": 7}),
    Step("get_pipeline_limits", {"pipeline": "sleep"}),
    Step("set_limits", OF_TENANT, body={"weight": 2}),
    Step("get_limits", OF_TENANT),
    Step("get_usage", OF_TENANT),
    Step("create_key", OF_TENANT, body={"role": "read", "name": "made by a client"}, keep={"key": "key_id"}),
    Step("list_keys", OF_TENANT),
    Step("revoke_key", {**OF_TENANT, "key_id": "$key"}),
    # Webhooks.
    Step("create_webhook_endpoint", body={"url": "$receiver", "tenant_id": TENANT}, keep={"endpoint": "endpoint_id"}),
    Step("get_webhook_endpoint", {"endpoint_id": "$endpoint"}),
    Step("list_webhook_endpoints", query=OF_TENANT),
    Step("change_webhook_endpoint", {"endpoint_id": "$endpoint"}, body={"description": "mine"}),
    Step("rotate_webhook_endpoint", {"endpoint_id": "$endpoint"}),
    Step("test_webhook_endpoint", {"endpoint_id": "$endpoint"}, keep={"delivery": "delivery_id"}),
    Step("get_delivery", {"delivery_id": "$delivery"}, until={"status": "delivered"}),
    Step("redeliver_webhook", {"delivery_id": "$delivery"}),
    Step("list_deliveries", query=OF_TENANT),
    Step("list_job_deliveries", {"job_id": "$film"}),
    Step("get_webhook_secret", OF_TENANT),
    Step("rotate_webhook_secret", OF_TENANT),
    Step("delete_webhook_endpoint", {"endpoint_id": "$endpoint"}),
    # Schedules.
    Step("create_schedule", body={"cron": "0 3 * * *", "tenant_id": TENANT, "job": SLEEP}, keep={"schedule": "schedule_id"}),
    Step("get_schedule", {"schedule_id": "$schedule"}),
    Step("list_schedules", query=OF_TENANT),
    Step("change_schedule", {"schedule_id": "$schedule"}, body={"name": "nightly"}),
    Step("pause_schedule", {"schedule_id": "$schedule"}),
    Step("resume_schedule", {"schedule_id": "$schedule"}),
    Step("run_schedule", {"schedule_id": "$schedule"}),
    Step("delete_schedule", {"schedule_id": "$schedule"}),
    # The installation.
    Step("read_audit_log"),
    Step("read_tenant_audit_log", OF_TENANT),
    Step("read_metrics"),
    Step("get_scaling"),
    Step("check_liveness"),
    Step("check_acceptance"),
    Step("check_installation"),
    Step("check_readiness"),
    Step("analyse_jobs"),
    Step("export_jobs"),
    Step("erase_tenant", OF_TENANT),
)
