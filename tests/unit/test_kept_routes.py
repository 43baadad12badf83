"""A route is found, and its address is made, by what was compiled for another app as by what was compiled for this one."""

from __future__ import annotations

from werkzeug.routing import BaseConverter, Map, Rule

from tests import kept_routes


class Loud(BaseConverter):
    def to_url(self, value: str) -> str:
        return value.upper()


def addresses(**kind: type[BaseConverter]) -> tuple[str, str]:
    """Of a route with one part, and with a value that is no part of it."""
    routes = Map([Rule("/jobs/<string:name>/kept", endpoint="kept")], converters=kind)
    at = routes.bind("x.example")
    assert at.match("/jobs/a/kept") == ("kept", {"name": "a"})
    return at.build("kept", {"name": "a"}), at.build("kept", {"name": "a", "after": 3})


def test_an_address_is_made_by_its_own_rule() -> None:
    assert Rule.compile is kept_routes._compiled_once
    before = len(kept_routes._kept)
    for _ in range(2):
        assert addresses() == ("/jobs/a/kept", "/jobs/a/kept?after=3")
        assert addresses(string=Loud) == ("/jobs/A/kept", "/jobs/A/kept?after=3"), "nothing is kept of a converter of an app's own"
    assert len(kept_routes._kept) == before + 1


def test_parts_are_those_of_the_rule() -> None:
    for _ in range(2):
        rules = [Rule("/kept/<path:where>/<int:number>", endpoint="x"), Rule("/kept/<name>", endpoint="y")]
        at = Map(rules).bind("x.example")
        assert at.match("/kept/a/b/3") == ("x", {"where": "a/b", "number": 3})
        assert at.match("/kept/c") == ("y", {"name": "c"})
        assert [rule.arguments for rule in rules] == [{"where", "number"}, {"name"}]


def test_a_default_belongs_to_its_rule() -> None:
    for said in ("one", "two"):
        routes = Map([Rule("/<name>/x", endpoint="x", defaults={"name": said}), Rule("/<name>/y", endpoint="y")])
        assert routes.bind("x.example").build("x", {"name": said}) == f"/{said}/x"
