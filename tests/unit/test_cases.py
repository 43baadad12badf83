"""Cases in one item: each is run, and each that fails is named."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest

from tests import cases
from tests.cases import TOLD, each

#: More items of one test than this are to be folded (`tests.cases.each`).
MOST = 130


def test_every_case_is_run_and_each_that_fails_is_named() -> None:
    seen = []

    @each("number", range(TOLD * 3), ids=lambda number: f"<{number}>")
    def odd(number: int) -> None:
        seen.append(number)
        assert number % 2 == 0, f"{number} is odd"

    with pytest.raises(AssertionError, match=rf"^{TOLD * 3 // 2} of {TOLD * 3} cases failed") as failed:
        odd()
    assert seen == list(range(TOLD * 3))
    assert isinstance(failed.value.__cause__, AssertionError)
    assert "1 is odd" in str(failed.value.__cause__)
    lines = str(failed.value).splitlines()
    assert [line.partition(">")[0] for line in lines if line.startswith("<")] == [f"<{number}" for number in range(1, TOLD * 3, 2)]
    assert sum(line.endswith(" is odd") for line in lines) == TOLD


def test_a_test_of_a_class_is_folded_too() -> None:
    seen = []

    class Some:
        @each("number", [1, 2])
        def odd(self, number: int) -> None:
            seen.append((self, number))
            assert number % 2 == 0

    some = Some()
    with pytest.raises(AssertionError, match=r"^1 of 2 cases failed"):
        some.odd()
    assert seen == [(some, 1), (some, 2)]


def test_what_pytest_itself_raises_fails_the_case_and_a_skip_is_no_success() -> None:
    @each(("number", "word"), [(1, "fail"), (2, "raises"), (3, "skip"), (4, "well")])
    def ended(number: int, word: str) -> None:
        if word == "fail":
            pytest.fail("of itself")
        if word == "raises":
            with pytest.raises(ValueError, match="none"):
                pass
        if word == "skip":
            pytest.skip("not here")

    with pytest.raises(AssertionError, match=r"^3 of 4 cases failed") as failed:
        ended()
    told = str(failed.value)
    assert "1-fail: Failed: of itself" in told
    assert "2-raises: Failed: DID NOT RAISE" in told
    assert "3-skip: AssertionError: a case cannot be skipped: not here" in told
    assert "4-well" not in told


def test_a_test_that_is_stopped_stops() -> None:
    seen = []

    @each("number", range(3))
    def interrupted(number: int) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert seen == [0]


def test_a_case_can_be_picked_and_none_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    @each("word", ["one", "two", "twenty"])
    def said(word: str) -> None:
        seen.append(word)

    monkeypatch.setattr(cases, "only", "tw")
    said()
    assert seen == ["two", "twenty"]
    monkeypatch.setattr(cases, "only", "three")
    with pytest.raises(AssertionError, match="no case has 'three' in its name"):
        said()


def test_cases_that_are_none_or_of_another_shape_are_refused() -> None:
    def test(one: int, two: int) -> None:
        raise AssertionError

    with pytest.raises(AssertionError, match="cannot fail"):
        each("one", [])
    with pytest.raises(AssertionError, match="a value for each"):
        each("one, two", [(1, 2), (1, 2, 3)])
    with pytest.raises(AssertionError, match="test takes"):
        each("three", [1])(test)


@each("number", [1, 2])
def test_fixtures_are_given_by_their_names(number: int, request: pytest.FixtureRequest) -> None:
    assert request.node.name == "test_fixtures_are_given_by_their_names"
    assert list(inspect.signature(request.function).parameters) == ["request"]


def test_no_test_has_so_many_items_that_the_items_take_the_time(request: pytest.FixtureRequest) -> None:
    """Of those that are collected with this one: in `make test` all."""
    items = Counter(item.nodeid.partition("[")[0] for item in request.session.items)
    assert {test: many for test, many in items.items() if many > MOST} == {}, "fold them: tests.cases.each"
