"""What a request costs the store, told to the server that gives turns (`web/server/accounts.py`)."""

from __future__ import annotations

from flask import request

from pipeline_jobs.web.server.accounts import SHARE
from pipeline_jobs.web.server.slow import costs
from pipeline_jobs.web.state import web

#: All API processes together may take this part of the store's time for one tenant, while others are served.
STORE_SHARE = 0.25


def cost(seconds: float) -> None:
    """This request took so much of the store's time."""
    costs(request.environ, seconds * SHARE / STORE_SHARE * web().processes.count)
