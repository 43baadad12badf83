"""Bodies of many small parts are refused before they are made into objects, and never cost a list of all that is wrong with them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from pipeline_jobs.web.http import validation
from pipeline_jobs.web.http.json_bounds import MAX_ELEMENTS, MAX_KEYS, elements

from .checks import problem_of
from .world import URL

KEYS = {f"k{number}": 1 for number in range(80_000)}
OPEN = "[" * 20_000


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(KEYS),
        json.dumps({"url": URL, "params": {"list": [{} for _ in range(MAX_ELEMENTS + 1)]}}),
        json.dumps({"url": URL, "params": {"list": [1] * MAX_ELEMENTS}}),
        OPEN,
    ],
    ids=["keys", "objects", "numbers", "depth"],
)
def test_what_has_too_many_elements_is_not_even_parsed(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    def parse(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(validation, "from_json", parse)
    problem_of(client.post("/pipeline/jobs", data=body, content_type="application/json"), 413, "body_too_large")


def test_an_object_has_so_many_keys(client: FlaskClient) -> None:
    for body in (dict(list(KEYS.items())[: MAX_KEYS + 1]), {"url": URL, "params": {"deep": [dict(list(KEYS.items())[: MAX_KEYS + 1])]}}):
        problem_of(client.post("/pipeline/jobs", json=body), 413, "body_too_large")
    problem_of(client.post("/pipeline/jobs", json=dict(list(KEYS.items())[: MAX_KEYS - 1])), 422, "invalid_input")


def test_a_long_text_is_one_element(client: FlaskClient) -> None:
    text = '[{,"\\' * 2000
    assert elements(json.dumps([text, {text: text}]).encode()) == 3
    answer = client.post("/pipeline/jobs", json={"url": URL, "metadata": {"text": '[{,"\\' * 2000}})
    assert answer.status_code == 201, answer.text


def test_a_whole_batch_of_jobs_with_all_their_fields_is_taken(client: FlaskClient) -> None:
    job = {"url": URL, "tags": ["a", "b", "c", "d"], "metadata": {"a": [1, 2, 3], "b": {"c": "d"}}, "priority": 3}
    answer = client.post("/pipeline/batches", json={"jobs": [job] * 1000})
    assert answer.status_code == 201, answer.text


def test_of_very_many_faults_only_their_number_is_said(client: FlaskClient) -> None:
    answer = client.post(
        "/pipeline/jobs", json={"url": URL, "webhook": {**dict(list(KEYS.items())[:600])}, **dict(list(KEYS.items())[:600])}
    )
    body = problem_of(answer, 422, "invalid_input", "body")
    assert "wrong" in body["detail"]
    assert len(body["errors"]) == 1
