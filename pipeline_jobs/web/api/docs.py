"""`/openapi.json` and `/docs`: the contract for programs, and as a page (Swagger UI from a package of its own: no network)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Flask, Response

from pipeline_jobs.web.http.replies import encode

_HERE = Path(__file__).parents[1] / "static"
_SWAGGER = Path(str(files("flask_openapi_swagger"))) / "templates" / "swagger"
#: Swagger UI sets styles from its script and shows pictures from data: URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def install(app: Flask, document: Callable[[], Mapping[str, object]]) -> None:
    """Serve this OpenAPI document and its page. The document is made when it is first asked for."""
    html = (_HERE / "docs.html").read_bytes()
    data = cache(lambda: encode(document()))
    blueprint = Blueprint("docs", __name__, static_folder=_HERE, static_url_path="/docs/static")
    swagger = Blueprint("swagger", __name__, static_folder=_SWAGGER, static_url_path="/docs/swagger")

    @blueprint.get("/openapi.json")
    def openapi() -> Response:
        return Response(data(), content_type="application/json")

    @blueprint.get("/docs")
    def page() -> Response:
        return Response(html, headers={"Content-Security-Policy": _POLICY}, content_type="text/html; charset=utf-8")

    app.register_blueprint(blueprint)
    app.register_blueprint(swagger)
