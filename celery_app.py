"""The Celery app, for the `celery` command: `celery -A celery_app worker --autoscale=5,1`."""

from pipeline_jobs.settings import load_settings
from pipeline_jobs.worker.app import create_celery

app = create_celery(load_settings())
