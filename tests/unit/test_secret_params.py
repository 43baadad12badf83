"""Which parameters are secret, wherever a model has them: what is masked in logs and left out of the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from pipeline_jobs.pipelines import Pipeline, Stage

SECRET: JsonDict = {"format": "password"}


class Login(BaseModel):
    user: str = "u"
    password: str = Field(json_schema_extra=SECRET)


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    api_key: str = Field(alias="api-key", json_schema_extra=SECRET)


class Dumped(BaseModel):
    model_config = ConfigDict(serialize_by_alias=True)
    api_key: str = Field(serialization_alias="apiKey", json_schema_extra=SECRET)


class ByHost(BaseModel):
    logins: dict[str, Login]


class Deep(BaseModel):
    rows: list[list[Login]]
    maybe: dict[str, list[Login] | None] | None = None


class Pairs(BaseModel):
    pair: tuple[int, Login]


class Whole(BaseModel):
    vault: dict[str, str | int | bool] = Field(json_schema_extra=SECRET)


class Marked(BaseModel):
    #: Each is a secret, and not the list.
    tokens: list[Annotated[str, Field(json_schema_extra=SECRET)]]


LOGIN = {"user": "u", "password": "s3cret"}


@pytest.mark.parametrize(
    ("model", "sent", "left"),
    [
        (Login, LOGIN, {"user": "u"}),
        (Aliased, {"api-key": "s3cret"}, {}),
        (Dumped, {"api_key": "s3cret"}, {}),
        (ByHost, {"logins": {"a": LOGIN}}, {"logins": {"a": {"user": "u"}}}),
        (Deep, {"rows": [[LOGIN]]}, {"rows": [[{"user": "u"}]], "maybe": None}),
        (Deep, {"rows": [], "maybe": {"a": [LOGIN], "b": None}}, {"rows": [], "maybe": {"a": [{"user": "u"}], "b": None}}),
        (Pairs, {"pair": [1, LOGIN]}, {"pair": [1, {"user": "u"}]}),
        (Marked, {"tokens": ["s3cret"]}, {"tokens": []}),
    ],
)
def test_a_secret_is_found_wherever_it_is(model: type[BaseModel], sent: Mapping[str, Any], left: Mapping[str, Any]) -> None:
    pipeline = Pipeline("p", (Stage("a", lambda context: None),), model, needs_url=False)
    params = pipeline.check_params(sent)
    assert pipeline.secrets(params) == ["s3cret"]
    assert pipeline.without_secrets(params) == left


def test_all_of_a_secret_object_is_secret() -> None:
    pipeline = Pipeline("p", (Stage("a", lambda context: None),), Whole, needs_url=False)
    params = pipeline.check_params({"vault": {"word": "s3cret", "pin": 73_914, "on": True}})
    assert pipeline.secrets(params) == ["s3cret", "73914"]
    assert pipeline.without_secrets(params) == {}
