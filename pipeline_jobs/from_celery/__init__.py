"""A way in for a Celery app that is there already: its tasks become jobs of tenants (docs/from-celery.md)."""

from pipeline_jobs.from_celery.tenant_jobs import tenant_jobs

__all__ = ["tenant_jobs"]
