"""The HTTP face: Flask blueprints over the ports in `ports`. It knows no Celery and never imports `worker`."""
