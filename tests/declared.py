"""Holds answers against the OpenAPI document: an operation gives no status, and no media type, that it does not declare."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

#: Routes that are no operations of the document: the page for people, the site of the documentation, the document itself, its page, files.
PAGE = "/pipeline/ui"
SITE = "/pipeline/docs/"
UNDOCUMENTED = frozenset({
    "/openapi.json", "/docs", "/docs/static/<path:filename>", "/docs/swagger/<path:filename>", SITE, SITE + "<path:filename>",
})  # fmt: skip


class Declared:
    """The operations of an app's document."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self.document: dict[str, Any] = app.test_client().get("/openapi.json", environ_base={"REMOTE_ADDR": "127.0.0.1"}).get_json()
        self.seen: set[tuple[str, str, int]] = set()

    def problem_with(self, method: str, path: str, response: TestResponse) -> str | None:
        """What is undeclared about an answer; None: all of it is."""
        rule = self.rule(method, path)
        if rule is None or rule in UNDOCUMENTED or rule == PAGE or rule.startswith(PAGE + "/"):
            return None if response.status_code < 500 else f"{response.status_code} outside of all operations"
        template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
        operation = self.document["paths"].get(template, {}).get(method.lower())
        if operation is None:
            return f"{method} {template} is not in the document"
        self.seen.add((method, template, response.status_code))
        answers = operation["responses"]
        declared = answers.get(str(response.status_code))
        if declared is None:
            return f"{method} {template} gave {response.status_code}, and declares {sorted(answers)}"
        content = declared.get("content", {})
        if response.data and response.mimetype not in content and "*/*" not in content:
            return f"{method} {template} gave {response.status_code} as {response.mimetype}, and declares {sorted(content)}"
        promised = {name.lower() for name in declared.get("headers", {})} & {"www-authenticate", "tus-version", "content-range"}
        missing = promised - {name.lower() for name, _ in response.headers}
        return f"{method} {template} gave {response.status_code} without {sorted(missing)}" if missing else None

    def rule(self, method: str, path: str) -> str | None:
        """The route that a request comes to; None: there is none of this path and method."""
        adapter = self._app.url_map.bind("localhost")
        try:
            rule, _ = adapter.match(path.partition("?")[0], method, return_rule=True)
        except HTTPException:
            return None
        return str(rule.rule)
