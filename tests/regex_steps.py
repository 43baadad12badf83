"""How much work a pattern of `re` can be made to do: a backtracking matcher that counts its steps, and hostile inputs for a pattern.

`re` itself has no counter, and a time says little on a loaded machine. The matcher walks the tree that `re` compiles from, tries
the same choices in the same order, and counts each try. Inputs are made from the pattern: a text that leads to a repeat, what the
repeat takes many times over, and an end at which the match fails.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Literal

How = Literal["match", "fullmatch", "search"]
Node = tuple[Any, Any]
Rest = Callable[[int], bool]

_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT)
_ONE = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN)
_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    op.CATEGORY_DIGIT: str.isdigit,
    op.CATEGORY_NOT_DIGIT: lambda char: not char.isdigit(),
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    op.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    op.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
}


class TooManySteps(Exception):
    """The matcher gave up: the number of steps explodes."""


class Steps:
    """`Steps(pattern, flags).count(text, "search")`: how many tries a backtracking matcher makes."""

    def __init__(self, pattern: str | bytes, flags: int = 0, most: int = 50_000) -> None:
        text = pattern.decode("latin-1") if isinstance(pattern, bytes) else pattern
        tree = parser.parse(text, flags & ~re.ASCII if isinstance(pattern, str) else flags)
        self.nodes: list[Node] = list(tree)
        self.flags = tree.state.flags
        self.most = most
        self.steps = 0
        self.text = ""
        #: What each node of one character takes, as far as it was asked.
        self._known: dict[tuple[int, str], bool] = {}

    def count(self, text: str, how: How) -> int:
        """
        :raises TooManySteps: more than `most`.
        """
        self.matches(text, how)
        return self.steps

    def matches(self, text: str, how: How) -> bool:
        """Whether it matches, as `re` would say."""
        self.text, self.steps = text, 0
        end = len(self.text)
        accept: Rest = (lambda at: at == end) if how == "fullmatch" else (lambda at: True)
        return any(self._all(self.nodes, 0, start, accept) for start in range(end + 1 if how == "search" else 1))

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self.most:
            raise TooManySteps

    def _all(self, nodes: Sequence[Node], index: int, at: int, rest: Rest) -> bool:
        if index == len(nodes):
            return rest(at)
        return self._node(nodes[index], at, lambda after: self._all(nodes, index + 1, after, rest))

    def _node(self, node: Node, at: int, rest: Rest) -> bool:
        self._step()
        kind, value = node
        if kind in _ONE:
            return at < len(self.text) and self._takes(node, self.text[at]) and rest(at + 1)
        if kind in _REPEATS:
            return self._repeat(node, at, rest)
        if kind is op.SUBPATTERN:
            return self._all(list(value[3]), 0, at, rest)
        if kind is op.BRANCH:
            return any(self._all(list(branch), 0, at, rest) for branch in value[1])
        if kind is op.AT:
            return self._stands(value, at) and rest(at)
        if kind is op.ATOMIC_GROUP:
            ends = self._first(list(value), at)
            return ends is not None and rest(ends)
        if kind in (op.ASSERT, op.ASSERT_NOT):
            return self._looks(value, at) is (kind is op.ASSERT) and rest(at)
        raise NotImplementedError(f"{kind} is not known to this matcher: add it")

    def _repeat(self, node: Node, at: int, rest: Rest) -> bool:
        kind, (least, most, body) = node
        items = list(body)
        most = sys.maxsize if most is op.MAXREPEAT else int(most)
        if len(items) == 1 and items[0][0] in _ONE:
            return self._run_of_one(kind, items[0], int(least), most, at, rest)
        if kind is op.POSSESSIVE_REPEAT:
            return self._possessive(items, int(least), most, at, rest)
        return self._group(kind is op.MAX_REPEAT, items, int(least), most, at, rest)

    def _run_of_one(self, kind: Any, one: Node, least: int, most: int, at: int, rest: Rest) -> bool:
        """A repeat of one character: a loop, as in `re`, so that a long run needs no stack."""
        whole = 0
        while whole < most and at + whole < len(self.text) and self._takes(one, self.text[at + whole]):
            whole += 1
            if kind is not op.MIN_REPEAT:
                self._step()
        if whole < least:
            return False
        ends = {op.MAX_REPEAT: range(whole, least - 1, -1), op.MIN_REPEAT: range(least, whole + 1)}.get(kind, range(whole, whole + 1))
        for length in ends:
            self._step()
            if rest(at + length):
                return True
        return False

    def _group(self, greedy: bool, items: list[Node], least: int, most: int, at: int, rest: Rest) -> bool:
        def once_more(done: int, begin: int) -> bool:
            def after(end: int) -> bool:
                return end > begin and once_more(done + 1, end)

            self._step()
            if done < least:
                return self._all(items, 0, begin, lambda end: once_more(done + 1, end))
            tries: list[Callable[[], bool]] = [lambda: rest(begin)]
            if done < most:
                tries.insert(0 if greedy else 1, lambda: self._all(items, 0, begin, after))
            return any(attempt() for attempt in tries)

        return once_more(0, at)

    def _possessive(self, items: list[Node], least: int, most: int, at: int, rest: Rest) -> bool:
        done = 0
        while done < most:
            end = self._first(items, at)
            if end is None or end == at:
                break
            at, done = end, done + 1
        return done >= least and rest(at)

    def _first(self, items: list[Node], at: int) -> int | None:
        """Where the first way to match ends."""
        ends: list[int] = []

        def keep(end: int) -> bool:
            ends.append(end)
            return True

        return ends[0] if self._all(items, 0, at, keep) else None

    def _looks(self, value: tuple[int, Any], at: int) -> bool:
        direction, items = value
        if direction > 0:
            return self._first(list(items), at) is not None
        width = items.getwidth()[0]
        return at >= width and self._all(list(items), 0, at - width, lambda end: end == at)

    def _stands(self, where: Any, at: int) -> bool:
        if where in (op.AT_BEGINNING, op.AT_BEGINNING_STRING):
            lines = where is op.AT_BEGINNING and bool(self.flags & re.MULTILINE)
            return at == 0 or (lines and self.text[at - 1] == "\n")
        if where in (op.AT_END, op.AT_END_STRING):
            return at == len(self.text) or (where is op.AT_END and self.text[at:] == "\n")
        word = _CATEGORIES[op.CATEGORY_WORD]
        edge = (at > 0 and word(self.text[at - 1])) != (at < len(self.text) and word(self.text[at]))
        return edge is (where is op.AT_BOUNDARY)

    def _takes(self, node: Node, char: str) -> bool:
        key = (id(node), char)
        if key not in self._known:
            self._known[key] = takes(node, char, self.flags)
        return self._known[key]


def takes(node: Node, char: str, flags: int) -> bool:
    """Whether a node of one character takes this one."""
    kind, value = node
    forms = {char, char.lower(), char.upper()} if flags & re.IGNORECASE else {char}
    if kind is op.ANY:
        return char != "\n" or bool(flags & re.DOTALL)
    if kind in (op.LITERAL, op.NOT_LITERAL):
        return (chr(value) in forms) is (kind is op.LITERAL)
    negated = value[0][0] is op.NEGATE
    return any(_in(item, form) for item in value[negated:] for form in forms) is not negated


def _in(item: Node, char: str) -> bool:
    kind, value = item
    if kind is op.LITERAL:
        return char == chr(value)
    if kind is op.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    return _CATEGORIES[value](char)


_CANDIDATES = "a A0_-.:/ \n\t\"'<>?!(=;~é\x01。"


def _samples(node: Node, flags: int) -> list[str]:
    """A few texts that a node takes."""
    kind, value = node
    if kind is op.LITERAL:
        return [chr(value)]
    if kind in _ONE:
        literals = [chr(inner) for name, inner in value if name is op.LITERAL] if kind is op.IN else []
        return [char for char in [*literals, *_CANDIDATES] if takes(node, char, flags)][:6]
    if kind in _REPEATS:
        least, most, body = value
        counts = sorted({int(least), min(int(least) + 1, int(most))})
        return list(dict.fromkeys(text * count for text in _texts(list(body), flags) for count in counts))
    if kind is op.SUBPATTERN:
        return _texts(list(value[3]), flags)
    if kind is op.ATOMIC_GROUP:
        return _texts(list(value), flags)
    if kind is op.BRANCH:
        return [text for branch in value[1] for text in _texts(list(branch), flags)[:2]]
    return [""]


def _texts(nodes: Sequence[Node], flags: int, most: int = 8) -> list[str]:
    """Texts that a sequence takes: all parts at their first choice, then one part at a time at another."""
    parts = [_samples(node, flags) or [""] for node in nodes]
    plain = [part[0] for part in parts]
    others = ["".join([*plain[:at], text, *plain[at + 1 :]]) for at, part in enumerate(parts) for text in part[1:]]
    return list(dict.fromkeys(["".join(plain), *others]))[:most]


def _inner(kind: Any, value: Any) -> list[Node]:
    """The sequence inside a node that has one."""
    if kind in _REPEATS:
        return list(value[2])
    if kind is op.SUBPATTERN:
        return list(value[3])
    return list(value) if kind is op.ATOMIC_GROUP else []


def _repeats(nodes: Sequence[Node], flags: int, before: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each repeat: a text that leads to it, and texts that it (and what follows it) takes once."""
    for at, (kind, value) in enumerate(nodes):
        lead = before + "".join((_samples(node, flags) or [""])[0] for node in nodes[:at])
        inner = _inner(kind, value)
        if kind in _REPEATS:
            own = _texts(inner, flags)
            after = _texts(list(nodes[at + 1 : at + 3]), flags, 4)
            yield lead, list(dict.fromkeys([*own, *(body + end for body in own[:4] for end in after if end), *filter(None, after)]))
        for branch in value[1] if kind is op.BRANCH else [inner]:
            yield from _repeats(list(branch), flags, lead)


_ENDS = ("", "\x01", "\n\x01", "<")


def hostile(pattern: str | bytes, flags: int = 0) -> list[tuple[str, str, str]]:
    """`(lead, pump, end)`: `lead + pump * n + end` is a text on which the pattern may work hard."""
    steps = Steps(pattern, flags)
    found = [
        (start, pump, end)
        for lead, pumps in _repeats(steps.nodes, steps.flags)
        for start, pump, end in itertools.product(dict.fromkeys([lead, ""]), pumps, _ENDS)
        if pump
    ]
    return list(dict.fromkeys(found))


@lru_cache(maxsize=4)
def _steps_of(pattern: str | bytes, flags: int) -> Steps:
    """One for all shapes of a pattern."""
    return Steps(pattern, flags)


#: A group that is repeated takes some of Python's stack each time.
_STACK = 20_000
#: A text of twice the length may cost this much more; 4 would be quadratic.
LINEAR = 2.6


def growth(pattern: str | bytes, flags: int, how: How, shape: tuple[str, str, str], pumps: int = 16) -> float:
    """By which factor the steps grow when the text of this shape doubles: 2 is linear, 4 quadratic, inf explodes.

    The smaller of two doublings: a repeat with an upper limit (`{0,63}`) jumps once, where the text goes over it. The second, which costs
    most, is made only if the first was more than linear.
    """
    lead, pump, end = shape
    steps = _steps_of(pattern, flags)
    stack = sys.getrecursionlimit()
    sys.setrecursionlimit(_STACK)
    try:
        small, middle = (steps.count(lead + pump * count + end, how) for count in (pumps, 2 * pumps))
        if middle <= LINEAR * small:
            return middle / small
        return min(middle / small, steps.count(lead + pump * 4 * pumps + end, how) / middle)
    except TooManySteps:
        return float("inf")
    finally:
        sys.setrecursionlimit(stack)


def worst(pattern: str | bytes, flags: int, how: How) -> tuple[float, tuple[str, str, str]]:
    """The largest growth and the text that has it (the first that explodes); `(1.0, ...)` for a pattern without a repeat."""
    found: tuple[float, tuple[str, str, str]] = (1.0, ("", "", ""))
    for shape in hostile(pattern, flags):
        found = max(found, (growth(pattern, flags, how, shape), shape))
        if found[0] == float("inf"):
            break
    return found
