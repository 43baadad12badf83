"""Ids in addresses, on a real store: what can be no id reaches no key, whatever that key is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from pipeline_jobs.serve import create_api
from pipeline_jobs.settings import Settings
from pipeline_jobs.store.keys import KEYS
from pipeline_jobs.store.store import Store, connect

#: Of each variable of a route what is answered to a value that it cannot have; None: it is no id.
ANSWERS = {
    "job_id": 404, "batch_id": 404, "schedule_id": 404, "upload_id": 404, "endpoint_id": 404, "delivery_id": 404, "key_id": 404,
    "workflow_id": 404, "tenant_id": 422, "pipeline": 422, "signal": 422, "path": None, "filename": None,
}  # fmt: skip
GOOD = {
    "job_id": "job_1_00000000", "batch_id": "batch_1_00000000", "schedule_id": "sch_1_00000000", "upload_id": "0" * 24,
    "endpoint_id": "whep_" + "0" * 16, "delivery_id": "msg_" + "0" * 32, "key_id": "0" * 16, "tenant_id": "acme", "pipeline": "sleep",
    "workflow_id": "batch_1_00000000", "signal": "approval",
}  # fmt: skip
#: What else a key of the store may go on with after an id.
TAILS = sorted({tail for key in KEYS.values() for tail in key.pattern.split("{}")[1:] if tail.startswith(":")} - {":"})


def hostile(variable: str) -> list[str]:
    good = GOOD[variable]
    odd = ["a:b", f"{good}:main", "*", "a*", "?", "[a]", "{a}", "é", "a\0", "a\n", f"{good}\n", "..", ".", "-a", " ", "a b", "x" * 200]
    return [*(good + tail for tail in TAILS), *(value for value in odd if (variable, value) != ("tenant_id", "*"))]


@pytest.fixture
def store(cell: Settings) -> Iterator[Store]:
    made = Store(connect(cell.redis_url), cell)
    yield made
    made.client.close()


def plant(store: Store, values: list[str]) -> None:
    """Under each key that such an id could lead to lies what nothing expects there: whoever reads or writes it fails."""
    with store.client.pipeline(transaction=False) as pipe:
        for name, key in KEYS.items():
            for value in values if "{}" in key.pattern else ():
                pipe.set(store.keys(name, value, *["main"] * (key.pattern.count("{}") - 1)), "planted")
        pipe.execute()


def asked(api: FlaskClient, rule: Rule, method: str, variable: str, value: str) -> int:
    values = {**{name: GOOD[name] for name in rule.arguments}, variable: value}
    built = rule.build(values, append_unknown=False)
    assert built is not None
    headers = {"Origin": "http://localhost"}
    return api.open(built[1], method=method, headers=headers, json=None if method == "GET" else {}).status_code


def test_whatever_can_be_no_id_is_refused_on_every_route_and_reaches_no_key(cell: Settings, store: Store) -> None:
    app = create_api(cell)
    rules = [rule for rule in app.url_map.iter_rules() if rule.arguments and not rule.websocket]
    assert {name for rule in rules for name in rule.arguments} == set(ANSWERS), "say here what a new variable of a route is"
    assert len(TAILS) > 3
    assert len(rules) > 40
    for variable in GOOD:
        plant(store, hostile(variable))
    api, wrong = app.test_client(), []
    for rule in rules:
        for variable in rule.arguments & set(GOOD):
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                for value in hostile(variable):
                    status = asked(api, rule, method, variable, value)
                    if status != ANSWERS[variable]:
                        wrong.append(f"{method} {rule.rule} with {variable} {value!r}: {status}")
    assert not wrong, "\n".join(wrong)


def test_the_answer_is_the_one_to_an_id_that_nothing_has(cell: Settings, store: Store) -> None:
    api = create_api(cell).test_client()
    for variable, path in {
        "job_id": "/pipeline/jobs/{}", "batch_id": "/pipeline/batches/{}", "schedule_id": "/pipeline/schedules/{}",
        "upload_id": "/pipeline/uploads/{}", "endpoint_id": "/pipeline/webhook-endpoints/{}", "delivery_id": "/pipeline/deliveries/{}",
    }.items():  # fmt: skip
        unknown, strange = (api.get(path.format(value)).json for value in (GOOD[variable], "a:b"))
        for body in (unknown, strange):
            for told in ("request_id", "instance"):
                (body or {}).pop(told, None)
        assert (unknown or {})["status"] == 404
        assert strange == unknown
