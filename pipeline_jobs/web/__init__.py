"""The HTTP face: Flask blueprints over the `cell`. It knows no Celery and never imports `worker`."""
