"""Many cases of one test in one item of pytest.

An item costs pytest some 4 ms of a processor in the process that runs it, in the one that gathers the reports, and in each process of
`make test` that collects it. Of 21,000 items 16,000 were cases of 40 tests that each took less than that.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

#: What `--case TEXT` has set (`tests/conftest.py`): only cases with this in their names are run.
only = ""
#: So many failures are told with what they say; of the others the names.
TOLD = 20

Test = Callable[..., None]


def each(names: str | Sequence[str], values: Iterable[Any], *, ids: Callable[[Any], object] | None = None) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, but all in one item: every case is run, also after one that failed, and each that fails is named.

    The fixtures of a test's own scope are made once for all cases: a test clears what a case has changed.

    :param ids: the name of a value in the report; without it, or where it gives None, its text.
    """
    words = tuple(word.strip() for word in names.split(",")) if isinstance(names, str) else tuple(names)
    rows = [tuple(value) if len(words) > 1 else (value,) for value in values]
    assert rows, "a test without a case cannot fail"
    assert all(len(row) == len(words) for row in rows), f"each case has a value for each of {words}"

    def name_of(row: tuple[Any, ...]) -> str:
        said = [(ids(value) if ids else None, value) for value in row]
        return "-".join(str(value if text is None else text) for text, value in said)

    def folded(test: Test) -> Test:
        @functools.wraps(test)
        def every(*own: Any, **fixtures: Any) -> None:
            # `own`: of a test of a class, what it is of.
            chosen = [(name, row) for row in rows if only in (name := name_of(row))]
            assert chosen, f"no case has {only!r} in its name"
            failed: list[tuple[str, BaseException]] = []
            for name, row in chosen:
                try:
                    test(*own, **fixtures, **dict(zip(words, row, strict=True)))
                except pytest.skip.Exception as skipped:
                    failed.append((name, AssertionError(f"a case cannot be skipped: {skipped}")))
                except (Exception, pytest.fail.Exception) as error:
                    failed.append((name, error))
            if failed:
                raise AssertionError(told(failed, len(chosen))) from failed[0][1]

        signature = inspect.signature(test)
        assert set(words) <= signature.parameters.keys(), f"{test.__name__} takes {words}"
        fixtures = [given for name, given in signature.parameters.items() if name not in words]
        # What pytest reads the names of the fixtures from.
        every.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return every

    return folded


def told(failed: Sequence[tuple[str, BaseException]], many: int) -> str:
    """All names of the cases that failed, of so many: the first `TOLD` with what they say."""
    lines = [f"{name}: {type(error).__name__}: {str(error)[:500]}" for name, error in failed[:TOLD]]
    lines += [name for name, _ in failed[TOLD:]]
    return "\n".join((f"{len(failed)} of {many} cases failed (one by itself: --case TEXT); the first is shown above:", *lines))
