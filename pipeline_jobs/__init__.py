"""pipeline-jobs: a multi-tenant job platform for long media and content pipelines, on Celery.

The record in the store is the truth, a Celery message is a hint that one job may start now,
and a worker is a lease holder with an attempt number. `docs/glossary.md` explains the words.
"""

__version__ = "0.1.0"
