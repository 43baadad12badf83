"""The WSGI app, for `gunicorn wsgi:app`."""

from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import load_settings
from pipeline_jobs.starting import one_line_errors

# By this code gunicorn's master knows that its next worker would end likewise.
with one_line_errors(4):
    app = create_api(load_settings())
