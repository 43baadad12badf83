"""Addresses are made by what was compiled for another app as they are by what was compiled for this one."""

from __future__ import annotations

from werkzeug.routing import BaseConverter, Map, Rule

from tests import kept_routes


class Loud(BaseConverter):
    def to_url(self, value: str) -> str:
        return value.upper()


def addresses(kind: type[BaseConverter], **options: str) -> tuple[str, str]:
    """Of a route with one part, and with a value that is no part of it."""
    routes = Map([Rule("/jobs/<kind:name>/events", endpoint="events", **options)], converters={"kind": kind})  # type: ignore[arg-type]
    at = routes.bind("x.example")
    return at.build("events", {"name": "a"}), at.build("events", {"name": "a", "after": 3})


def test_an_address_is_made_by_its_own_rule() -> None:
    assert Rule._compile_builder is kept_routes._compiled_once
    before = len(kept_routes._kept)
    for _ in range(2):
        assert addresses(BaseConverter) == ("/jobs/a/events", "/jobs/a/events?after=3")
        assert addresses(Loud) == ("/jobs/A/events", "/jobs/A/events?after=3")
    assert len(kept_routes._kept) == before + 2


def test_a_default_belongs_to_its_rule() -> None:
    for said in ("one", "two"):
        routes = Map([Rule("/<name>/x", endpoint="x", defaults={"name": said}), Rule("/<name>/y", endpoint="y")])
        assert routes.bind("x.example").build("x", {"name": said}) == f"/{said}/x"
