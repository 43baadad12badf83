"""A page is as the app that is asked has it, also where what was compiled for another app is used."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, render_template_string
from jinja2 import DictLoader, Environment, TemplateSyntaxError

from tests import kept_templates

TEXT = "{% if who %}\n{{ who }} of {{ place() }}: {{ 'a b' | shout }}\n{% endif %}"


def environment(shout: Any = str.upper, **options: Any) -> Environment:
    made = Environment(loader=DictLoader({"page": TEXT}), **options)
    made.filters["shout"] = shout
    return made


def compiled() -> int:
    return len(kept_templates._kept)


def page(made: Environment, place: str, who: str = "<b>") -> str:
    made.globals["place"] = lambda: place
    return made.get_template("page").render(who=who)


def test_a_template_is_compiled_once_and_filled_by_the_one_that_asks() -> None:
    assert Environment.compile is kept_templates._compiled_once
    before = compiled()
    # Set as in no other test.
    made = (environment(line_comment_prefix="##") for _ in range(2))
    assert [page(one, place) for one, place in zip(made, ("here", "there"), strict=True)] == [
        "\n<b> of here: A B\n",
        "\n<b> of there: A B\n",
    ]
    assert compiled() == before + 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trim_blocks": True}, "<b> of x: A B\n"),
        ({"autoescape": True}, "\n&lt;b&gt; of x: A B\n"),
        ({"autoescape": lambda name: name == "page"}, "\n&lt;b&gt; of x: A B\n"),
        ({"variable_start_string": "[["}, "\n{{ who }} of {{ place() }}: {{ 'a b' | shout }}\n"),
        ({"shout": str.capitalize}, "\n<b> of x: A b\n"),
    ],
    ids=["blocks", "escaped", "escaped by name", "marks", "another filter"],
)
def test_one_that_is_set_otherwise_has_its_own(options: dict[str, Any], said: str) -> None:
    usual = page(environment(), "x")
    assert [page(environment(**options), "x") for _ in range(2)] == [said, said]
    assert said != usual
    assert page(environment(), "x") == usual


def test_what_is_no_template_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(TemplateSyntaxError):
            Environment().from_string("{% if %}")


def test_another_text_is_another_template() -> None:
    app = Flask("x")
    with app.test_request_context():
        assert [render_template_string(f"{{{{ {number} + 1 }}}}") for number in (1, 2, 1)] == ["2", "3", "2"]
