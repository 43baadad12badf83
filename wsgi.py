"""The WSGI app, for `gunicorn wsgi:app`."""

from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import load_settings

app = create_api(load_settings())
