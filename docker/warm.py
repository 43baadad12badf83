"""Imports what the processes of the image import, so that its bytecode is written: at run time nothing can be written there."""

import importlib
import pkgutil
from contextlib import suppress

import pipeline_jobs

APPS = ("celery_app", "wsgi", "flower.app", "celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "gunicorn.workers.gthread")
LIBRARIES = (
    "alembic.command",
    "av",
    "gcsfs",
    "moonshine_voice",
    "psycopg",
    "s3fs",
    "sumy.summarizers.lex_rank",
    "yt_dlp.extractor.generic",
)

names = [module.name for module in pkgutil.walk_packages(pipeline_jobs.__path__, "pipeline_jobs.") if "__main__" not in module.name]
for name in (*APPS, *LIBRARIES, *names):
    # An extra that the image has not; a script of Alembic's.
    with suppress(ImportError, AttributeError):
        importlib.import_module(name)
