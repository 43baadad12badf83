"""The Celery app, for the `celery` command: `celery -A celery_app worker --autoscale=5,1`."""

from pipeline_jobs.settings import load_settings
from pipeline_jobs.starting import one_line_errors
from pipeline_jobs.worker.app import create_celery
from pipeline_jobs.worker.stopping import may_end_before_it_begins

with one_line_errors():
    may_end_before_it_begins()
    app = create_celery(load_settings())
