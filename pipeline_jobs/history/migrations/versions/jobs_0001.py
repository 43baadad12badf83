"""The table of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXTS = ("tenant_id", "workspace_id", "pipeline", "status", "error_code", "batch_id", "tags", "record")
_NUMBERS = ("created_ms", "started_ms", "ended_ms", "wait_ms", "run_ms", "slot_ms", "attempts", "crashes", "handbacks", "deleted_ms")
_INDEXES = {
    "all": ("ord",), "tenant": ("tenant_id", "ord"), "workspace": ("tenant_id", "workspace_id", "ord"), "batch": ("batch_id", "ord"),
    "ended": ("ended_ms", "ord"), "tenant_ended": ("tenant_id", "ended_ms", "ord"), "deleted": ("deleted_ms",),
}  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "history_jobs",
        sa.Column("cell", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("ord", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text) for name in _TEXTS),
        *(sa.Column(name, sa.BigInteger) for name in _NUMBERS),
    )
    for name, columns in _INDEXES.items():
        op.create_index(f"history_jobs_{name}", "history_jobs", ["cell", *columns])


def downgrade() -> None:
    op.drop_table("history_jobs")
