"""What is called before and after each route's view is what Flask itself would call, in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from pipeline_jobs.web.asked import asked

Noted = list[tuple[str, str | None, int]]


def noting(noted: Noted, when: str, hooks: Mapping[str | None, list[Any]]) -> dict[str | None, list[Callable[..., Any]]]:
    """Hooks in the place of these, which only note that they are called."""

    def note(name: str | None, number: int) -> Callable[..., Any]:
        return lambda *response: (noted.append((when, name, number)), *response)[-1] if response else noted.append((when, name, number))

    return {name: [note(name, number) for number in range(len(some))] for name, some in hooks.items()}


def test_each_route_has_the_hooks_that_flask_gives_it(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    app, noted = client.application, Noted()
    monkeypatch.setattr(app, "before_request_funcs", noting(noted, "before", app.before_request_funcs))
    monkeypatch.setattr(app, "after_request_funcs", noting(noted, "after", app.after_request_funcs))
    seen: set[tuple[Any, ...]] = set()
    for rule in [None, *app.url_map.iter_rules()]:
        each = []
        for kind in (Flask, type(app), type(app)):
            noted.clear()
            with app.test_request_context("/"):
                asked().url_rule = rule
                response = Response()
                assert kind.preprocess_request(app) is None
                assert kind.process_response(app, response) is response
            each.append(tuple(noted))
        assert each[0] == each[1] == each[2], rule
        seen.add(each[0])
    assert {len(hooks) for hooks in seen} >= {4, 5, 6}, "of the app alone, of a resource, and of one with an after"


def test_what_a_hook_answers_is_the_answer(client: FlaskClient) -> None:
    client.application.before_request_funcs[None].insert(0, lambda: "not now")
    assert client.get("/health/live").get_data(as_text=True) == "not now"
