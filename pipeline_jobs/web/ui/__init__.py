"""`/pipeline/ui`: the web page. Rendered by the server, with htmx for updates; it loads nothing from other servers.

It stands on the same parts as the API's blueprints and on the same policy (`web/access/policy.py`): it can show and do nothing that a key
could not.
"""

from __future__ import annotations

from flask import Flask

from pipeline_jobs.web.ui import (
    audit,
    batches,
    bulk,
    change,
    chosen,
    exports,
    fairness,
    jobs,
    keys,
    lost,
    many,
    oncall,
    overview,
    pausing,
    schedules,
    session,
    shares,
    signals,
    submit,
    tenants,
    theme,
    uploads,
    views,
    webhooks,
    workflows,
)
from pipeline_jobs.web.ui.blueprint import blueprint

#: Each adds its routes to the blueprint when it is imported.
ROUTES = (
    session, theme, overview, jobs, views, chosen, exports,
    signals, change, shares, workflows, bulk, submit, many, uploads, batches, schedules, webhooks, tenants, keys,
    audit, fairness, oncall, pausing,
)  # fmt: skip


def install(app: Flask) -> None:
    """Serve the page."""
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(blueprint)
    lost.install(app)
