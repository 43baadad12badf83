"""`/pipeline/ui`: the web page. Rendered by the server, with htmx for updates; it loads nothing from other servers.

It stands on the same parts as the API's blueprints and on the same policy (`web/access/policy.py`): it can show and do nothing that a key
could not.
"""

from __future__ import annotations

from flask import Flask

from pipeline_jobs.web.ui import jobs, overview, session, submit, tenants
from pipeline_jobs.web.ui.blueprint import blueprint

#: Each adds its routes to the blueprint when it is imported.
ROUTES = (session, overview, jobs, submit, tenants)


def install(app: Flask) -> None:
    """Serve the page."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(blueprint)
