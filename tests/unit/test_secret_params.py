"""Which parameters are secret, wherever a model has them: what is masked in logs and left out of the history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    Secret,
    SecretBytes,
    SecretStr,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
)
from pydantic.config import JsonDict

from pipeline_jobs.exceptions import InvalidInput
from pipeline_jobs.pipelines import Pipeline, Stage
from pipeline_jobs.runlog.secret_params import MAX_HIDDEN, dumped, may_hide, revealed, sent_back

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


class Typed(BaseModel):
    token: SecretStr
    blob: SecretBytes | None = None
    day: Secret[date] | None = None
    logins: dict[str, list[SecretStr | int]] = {}
    pair: tuple[str, SecretStr] | None = None
    user: str = "u"


HIDING = Pipeline("p", (Stage("a", lambda context: None),), Typed, needs_url=False)
STARS = "*" * 10


@pytest.mark.parametrize(
    ("sent", "shown", "left"),
    [
        ({"token": "s3cret"}, {"token": STARS, "blob": None, "day": None, "logins": {}, "pair": None, "user": "u"}, {"logins": {}}),
        ({"token": "a", "blob": "s3cr\xe9t"}, {"token": STARS, "blob": STARS}, {}),
        ({"token": "a", "day": "2025-01-03"}, {"token": STARS, "day": STARS}, {}),
        ({"token": "a", "logins": {"x": ["b", 73_914]}}, {"logins": {"x": [STARS, 73_914]}}, {"logins": {"x": []}}),
        ({"token": "a", "pair": ["n", "b"]}, {"pair": ["n", STARS]}, {"user": "u"}),
        ({"token": ""}, {"token": ""}, {}),
    ],
)
def test_what_pydantic_hides_is_given_to_stages_and_shown_to_nobody(
    sent: Mapping[str, Any], shown: Mapping[str, Any], left: Mapping[str, Any]
) -> None:
    kept = HIDING.stored_params(sent)
    assert {name: kept["params"][name] for name in shown} == shown
    given = HIDING.check_params(sent)
    assert {name: given[name] for name in sent} == sent
    assert given == revealed(kept["params"], kept["secret_params"])
    assert HIDING.check_params(given) == given, "as at a retry"
    remaining = HIDING.without_secrets(given)
    assert remaining.keys() <= {"logins", "pair", "user"}
    assert {name: remaining[name] for name in left} == left
    assert HIDING.stored_params({"token": "a"})["params"].keys() == given.keys()


@pytest.mark.parametrize(
    ("sent", "field"), [({"token": STARS}, "params.token"), ({"token": "a", "logins": {"x": ["b", STARS]}}, "params.logins.x.1")]
)
def test_asterisks_are_nobodys_secret(sent: Mapping[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        HIDING.stored_params(sent)
    assert (refused.value.field, refused.value.message.split(":")[0]) == (field, field)


class Within(BaseModel):
    pin: SecretStr


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (SecretStr, "s3cret"),
        (SecretBytes, "s3cret"),
        (Secret[date], "2025-01-03"),
        (list[SecretStr] | None, ["s3cret"]),
        (dict[str, Within], {"a": {"pin": "s3cret"}}),
    ],
)
def test_each_type_that_hides_is_seen_where_there_is_no_other(kind: Any, value: Any) -> None:
    model = create_model("Alone", one=(kind, ...))
    pipeline = Pipeline("p", (Stage("a", lambda context: None),), model, needs_url=False)
    assert pipeline.check_params({"one": value}) == {"one": value}
    assert "s3cret" not in str(pipeline.stored_params({"one": value})["params"])


class Short(BaseModel):
    note: str | None = None
    token: SecretStr
    host: str

    @model_serializer(mode="wrap", when_used="json")
    def _short(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in whole(self).items() if value is not None}


def test_what_a_serializer_for_json_leaves_out_puts_no_secret_in_another_place() -> None:
    pipeline = Pipeline("p", (Stage("a", lambda context: None),), Short, needs_url=False)
    sent = {"token": "s3cret", "host": "h"}
    assert pipeline.stored_params(sent)["params"] == {"token": STARS, "host": "h"}
    assert pipeline.check_params(sent) == sent


def test_a_secret_that_is_no_text_is_refused_and_not_said() -> None:
    model = create_model("Encoded", key=(Annotated[SecretBytes, BeforeValidator(bytes.fromhex)], ...))
    pipeline = Pipeline("p", (Stage("a", lambda context: None),), model, needs_url=False)
    with pytest.raises(InvalidInput) as refused:
        pipeline.stored_params({"key": "fffe"})
    assert (refused.value.field, "ff" in refused.value.message) == ("params", False)


def test_each_of_them_is_looked_for_in_logs() -> None:
    given = HIDING.check_params({"token": "a", "blob": "b", "day": "2025-01-03", "logins": {"x": ["c"]}, "pair": ["n", "d"]})
    assert {"2025-01-03", "a", "b", "c", "d"} <= {*HIDING.secrets(given)}


def test_only_asterisks_are_replaced() -> None:
    kept = HIDING.stored_params({"token": "old", "logins": {"x": ["old"]}})
    assert revealed({"token": "new", "logins": {"x": []}}, kept["secret_params"]) == {"token": "new", "logins": {"x": []}}
    assert revealed({"token": STARS, "logins": 1}, kept["secret_params"]) == {"token": "old", "logins": 1}
    assert kept["params"]["token"] == STARS, "what was shown stays as it is"


def test_many_secrets_behind_one_long_name_are_refused() -> None:
    """Each has its way with it: 16 kB of parameters were 16 MB in the record."""
    name, secrets = "n" * 8_000, ["a"] * 2_000
    with pytest.raises(InvalidInput) as refused:
        HIDING.stored_params({"token": "a", "logins": {name: secrets}})
    assert (refused.value.field, str(MAX_HIDDEN) in refused.value.message) == ("params", True)
    assert len(HIDING.stored_params({"token": "a" * 16_000, "logins": {"n": ["b"] * 1_000}})["secret_params"]) == 1_001


def test_asterisks_of_a_list_are_replaced_only_where_it_begins_as_it_was_shown() -> None:
    """Else the password of one place would go to another."""
    kept = HIDING.stored_params({"token": "t", "logins": {"x": ["one", 1, "two"]}})
    shown, hidden = kept["params"], kept["secret_params"]

    def sent(logins: list[Any]) -> Any:
        return sent_back({**shown, "logins": {"x": logins}}, shown, hidden)["logins"]["x"]

    assert sent([STARS, 1, STARS]) == ["one", 1, "two"]
    assert sent([STARS, 1, STARS, "three"]) == ["one", 1, "two", "three"]
    assert sent(["three", 1]) == ["three", 1]
    assert sent_back({"token": STARS}, shown, hidden) == {"token": "t"}
    for changed in ([STARS], [STARS, 2, STARS], [1, STARS, STARS], ["three", STARS, 1, STARS]):
        with pytest.raises(InvalidInput) as refused:
            sent(changed)
        assert refused.value.field == "params.logins.x"


class Shade(Enum):
    LIGHT = "light"


class Plain(BaseModel):
    text: str = ""
    count: Annotated[int, Field(ge=0)] | None = None
    shade: Shade | Literal["none"] = "none"
    rows: list[dict[str, tuple[float, ...]]] = []
    echo: JsonValue = None


class Nested(BaseModel):
    rows: list[dict[str, tuple[SecretStr, ...]]] = []


class Open(BaseModel, extra="allow"):
    text: str = ""


class Outer(BaseModel):
    inner: Nested = Nested()


class Anything(BaseModel):
    value: Any = None


@pytest.mark.parametrize(("model", "may"), [(Plain, False), (Nested, True), (Open, True), (Outer, True), (Anything, True)])
def test_only_models_of_plain_values_are_not_looked_through(model: type[BaseModel], may: bool) -> None:
    assert may_hide(model) is may


def test_a_secret_anywhere_is_found() -> None:
    assert dumped(Nested(rows=[{"a": (SecretStr("one"), SecretStr("two"))}]))[1] == [
        {"at": ["rows", 0, "a", number], "shown": "**********", "value": value} for number, value in enumerate(("one", "two"))
    ]
