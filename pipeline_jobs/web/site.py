"""`/pipeline/docs/`: the documentation as a site, where `make site` has made it. It asks nothing of other sites."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Flask, Response, send_from_directory
from werkzeug.exceptions import NotFound

from pipeline_jobs.web.problems import Refused

#: Untracked; data of the package if it was made before the package was built.
FOLDER = Path(__file__).parent / "site"
#: Icons are pictures in its style sheets. The search runs in a worker.
_POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def install(app: Flask) -> None:
    """Serve the site at `/pipeline/docs/`: public, as the API's document is, for it holds nothing of an installation."""
    blueprint = Blueprint("site", __name__)

    @blueprint.get("/pipeline/docs/", defaults={"filename": "index.html"})
    @blueprint.get("/pipeline/docs/<path:filename>")
    def page(filename: str) -> Response:
        if not (FOLDER / "index.html").is_file():
            raise Refused(
                404, "not_found", "the documentation was not made here: `make site` makes it, before the package is built or the API starts"
            )
        try:
            found = send_from_directory(FOLDER, filename)
        except NotFound:
            raise Refused(404, "not_found", "the documentation has no such page") from None
        found.headers["Content-Security-Policy"] = _POLICY
        return found

    app.register_blueprint(blueprint)
