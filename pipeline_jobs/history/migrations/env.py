"""Run by alembic, with the connection that `Database.upgrade` has opened: in its transaction, so that a migration is done whole or not."""

from __future__ import annotations

from alembic import context

from pipeline_jobs.history.tables import METADATA, VERSIONS

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSIONS)
context.run_migrations()
