"""The table, as queries see it. `migrations` makes it; a test holds the two against each other."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text

METADATA = MetaData()
#: Where alembic notes which migrations were run.
VERSIONS = "history_version"

#: A job that has ended. Its key is also what keeps it single: whoever writes it a second time changes nothing.
JOBS = Table(
    "history_jobs",
    METADATA,
    #: The installation: several may share a database.
    Column("cell", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    #: `Job.order`: an id may be used again.
    Column("ord", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", Text),
    Column("workspace_id", Text),
    Column("pipeline", Text),
    Column("status", Text),
    #: Of a failed one, or of one that was not cancelled by a client.
    Column("error_code", Text),
    Column("batch_id", Text),
    #: As `rows.tags_text` writes them; null: none.
    Column("tags", Text),
    #: What `Job.from_mapping` reads, as JSON.
    Column("record", Text),
    Column("created_ms", BigInteger),
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    #: From its acceptance to its first start; null: it never started.
    Column("wait_ms", BigInteger),
    #: From its first start to its end.
    Column("run_ms", BigInteger),
    #: How long its runs held a slot.
    Column("slot_ms", BigInteger),
    Column("attempts", BigInteger),
    Column("crashes", BigInteger),
    Column("handbacks", BigInteger),
    #: It was deleted then: all else is null. The row stays for a day, so that a mover that is late does not bring the job back.
    Column("deleted_ms", BigInteger),
    Index("history_jobs_all", "cell", "ord"),
    Index("history_jobs_tenant", "cell", "tenant_id", "ord"),
    Index("history_jobs_workspace", "cell", "tenant_id", "workspace_id", "ord"),
    Index("history_jobs_batch", "cell", "batch_id", "ord"),
    Index("history_jobs_ended", "cell", "ended_ms", "ord"),
    Index("history_jobs_tenant_ended", "cell", "tenant_id", "ended_ms", "ord"),
    Index("history_jobs_deleted", "cell", "deleted_ms"),
)
#: What of a row says anything of the job.
TOLD = tuple(column.name for column in JOBS.columns if not column.primary_key and column.name != "deleted_ms")
