"""The kills of `tests.chaos`, done to plain Celery as its documents advise to set it up for reliability, and to pipeline-jobs beside it.

`python -m benchmarks.plain_celery_chaos --help`
"""
