"""Settings of gunicorn for the API, from ours: `gunicorn -c python:pipeline_jobs.web.gunicorn_conf wsgi:app`."""

from __future__ import annotations

from pipeline_jobs.settings import load_settings

_settings = load_settings()

bind = f"[{_settings.http_host}]:{_settings.http_port}" if ":" in _settings.http_host else f"{_settings.http_host}:{_settings.http_port}"
# Threads: a request that waits for a job holds one and costs little else.
worker_class = "gthread"
workers = _settings.http_workers
threads = _settings.http_threads
# A stop lets waiting requests end by themselves.
graceful_timeout = int(_settings.run_timeout_seconds) + 5
keepalive = 15
# One fixed path per user for all gunicorns of a machine: two installations would fight for it.
control_socket_disable = True
