"""No pattern of ours can be made to work more than in proportion to its text: hostile texts of doubling size, steps counted."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline_jobs.media import sentences
from pipeline_jobs.media.outputs import catalogue
from tests.cases import each
from tests.regex_steps import LINEAR, How, Steps, growth, hostile, worst

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted((ROOT / "pipeline_jobs").rglob("*.py"))}

#: These read text of our own only (Lua files, the routes of the API), once, when a process starts.
OWN_TEXT = {
    "pipeline_jobs/store/contract.py",
    "pipeline_jobs/store/scripts.py",
    "pipeline_jobs/web/http/openapi.py",
    "pipeline_jobs/store/keys.py",
}
#: Patterns that stand in a table, by the name with which they are applied.
TABLES = {"file.pattern": [file.pattern for output in catalogue.OUTPUTS.values() for file in output.files]}


class Used(NamedTuple):
    """A pattern in the sources, and how it is applied."""

    where: str
    pattern: str | bytes
    flags: int
    how: How


def flags_of(call: ast.Call) -> int:
    """The flags that a call names, by their values; other arguments (the text, the replacement) name none."""
    named = [node.attr for argument in call.args[1:] + [word.value for word in call.keywords] for node in ast.walk(argument)
             if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re"]  # fmt: skip
    return int(sum(re.RegexFlag[name] for name in set(named)))


#: How any module applies what stands under a name: `_NAME.match(` is under `_NAME`.
VERBS: defaultdict[str, set[str]] = defaultdict(set)
for _text in SOURCES.values():
    for _name, _verb in re.findall(r"\b(\w+)\.(match|fullmatch|search|sub|split|findall|finditer)\(", _text):
        VERBS[_name].add(_verb)


def applied(name: str | None) -> How:
    """The weakest anchor with which any module applies the pattern of this name; one that is nowhere seen is searched for."""
    verbs = VERBS[name] if name else set()
    return "fullmatch" if verbs == {"fullmatch"} else "match" if verbs and verbs <= {"match", "fullmatch"} else "search"


def patterns() -> Iterator[Used]:
    for path, text in SOURCES.items():
        # All processes of the tests collect this: trees are made of those only that can have a pattern.
        nodes = list(ast.walk(ast.parse(text))) if "import re\n" in text else []
        assigned = [node for node in nodes if isinstance(node, ast.Assign)]
        names = {id(node.value): target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
        for call in nodes:
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)):
                continue
            if call.func.value.id != "re":
                continue
            verb = call.func.attr
            if verb in {"escape"}:
                continue
            if ast.unparse(call.args[0]) in TABLES:
                yield from (Used(f"{path}:{call.lineno}", pattern, 0, "fullmatch") for pattern in TABLES[ast.unparse(call.args[0])])
                continue
            assert isinstance(call.args[0], ast.Constant), f"{path}:{call.lineno}: a pattern that is put together cannot be checked here"
            pattern = call.args[0].value
            assert isinstance(pattern, str | bytes)
            how: How = applied(names.get(id(call))) if verb == "compile" else "fullmatch" if verb == "fullmatch" else "search"
            yield Used(f"{path}:{call.lineno}", pattern, flags_of(call), how)


PATTERNS = [used for used in patterns() if used.where.rpartition(":")[0] not in OWN_TEXT]


def test_the_patterns_are_found() -> None:
    assert len(PATTERNS) > 40
    assert {used.how for used in PATTERNS} == {"match", "fullmatch", "search"}
    assert {path for path in OWN_TEXT if path not in SOURCES} == set()


@each("used", PATTERNS, ids=lambda used: used.where)
def test_a_hostile_text_costs_no_more_than_its_length(used: Used) -> None:
    factor, (lead, pump, end) = worst(used.pattern, used.flags, used.how)
    text = f"{lead!r} + {pump!r} * n + {end!r}"
    assert factor <= LINEAR, f"{used.pattern!r} by {used.how}: {text} costs {factor:.1f} times as much when n doubles"


@pytest.mark.parametrize(
    ("pattern", "flags", "how"),
    [
        (r"(a+)+$", 0, "match"),
        (r"(a|a)*b", 0, "match"),
        (r"\s+$", 0, "search"),
        (r"^\s*--.*\n", re.MULTILINE, "search"),
        (r"[^>]*>", 0, "search"),
        (r"\d+[0-9]*x", 0, "match"),
        (rb"\A\s*(<!--.*?-->\s*)*<html", re.DOTALL, "match"),
    ],
)
def test_the_hunt_finds_what_is_known_to_be_bad(pattern: str | bytes, flags: int, how: How) -> None:
    assert worst(pattern, flags, how)[0] > LINEAR


@each("used", PATTERNS, ids=lambda used: used.where)
def test_the_counting_matcher_agrees_with_re(used: Used) -> None:
    """The steps that are counted are those of the same match: on short texts of the hostile shapes, both find the same."""
    compiled = re.compile(used.pattern, used.flags)
    steps = Steps(used.pattern, used.flags)
    for lead, pump, end in hostile(used.pattern, used.flags):
        text = lead + pump * 3 + end
        if isinstance(used.pattern, bytes):
            text = text.encode("latin-1", "replace").decode("latin-1")
        given = text.encode("latin-1") if isinstance(used.pattern, bytes) else text
        assert steps.matches(text, used.how) is (getattr(compiled, used.how)(given) is not None), text


def test_growth_is_told_in_numbers() -> None:
    assert growth(r"a*b", 0, "match", ("", "a", "")) == pytest.approx(2, abs=0.2)
    assert growth(r"a*b", 0, "search", ("", "a", "")) == pytest.approx(4, abs=0.5)


class Counted:
    """A pattern that counts the characters it is given."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.characters = pattern, 0

    def search(self, text: str) -> re.Match[str] | None:
        self.characters += len(text)
        return self.pattern.search(text)


@pytest.mark.parametrize("word", ["Dr. ", "A. ", "e.g. ", 'Mr. "', "I said no. "])
def test_sentences_that_never_end_are_read_once(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    counted = Counted(sentences._ABBREVIATION)
    monkeypatch.setattr(sentences, "_ABBREVIATION", counted)
    for count in (50, 100, 200, 400):
        counted.characters = 0
        sentences.sentences(word * count)
        assert counted.characters <= len(word) * count
