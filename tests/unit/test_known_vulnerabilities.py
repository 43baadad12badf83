"""No pinned package is known to be vulnerable, as far as a source of reports can be reached; `make audit` asks about all lock files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import known_vulnerabilities as under_test
from tests.known_vulnerabilities import LOCKS, Audit, audit, pinned, read

REPORT = {"id": "PYSEC-2023-74", "fix_versions": ["2.31.0"], "aliases": ["CVE-2023-32681"], "description": "It leaks."}
SAID = {
    "dependencies": [
        {"name": "requests", "version": "2.30.0", "vulns": [REPORT]},
        {"name": "flask", "version": "3.1.0", "vulns": []},
        {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1.0)"},
    ],
    "fixes": [],
}


def test_nothing_that_runs_is_known_to_be_vulnerable() -> None:
    packages = pinned("run")
    if not audit([package for package in packages if package.startswith("requests==")]).known:
        pytest.skip("NOTHING WAS AUDITED: from here, no source of vulnerability reports can be reached (make audit, where one can)")
    found = audit(packages)
    assert found.vulnerable == ()
    assert found.unknown == set()


def test_a_report_is_read_with_the_release_that_is_good_again() -> None:
    assert read(json.dumps(SAID)) == Audit(
        frozenset({"requests", "flask"}), frozenset({"ours"}), ("requests 2.30.0: PYSEC-2023-74 (fixed in 2.31.0)",)
    )


def test_where_pip_audit_could_not_ask_nothing_is_known() -> None:
    assert read("") == Audit()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pinned_package_is_asked_about(lock: str) -> None:
    text = (Path(__file__).resolve().parents[2] / f"requirements/{lock}.lock").read_text()
    assert len(pinned(lock)) == text.count("==") - text.count(" == ") > 2


@pytest.mark.parametrize(
    ("found", "code", "said"),
    [
        (Audit(frozenset({"a"})), 0, "1 of"),
        (Audit(frozenset({"a"}), frozenset({"b"})), 0, "NOT AUDITED, since the source does not know them: b"),
        (Audit(frozenset({"a"}), vulnerable=("a 1: X (fixed in 2)",)), 1, "a 1: X (fixed in 2)"),
        (Audit(unknown=frozenset({"a"})), 2, "NOTHING WAS AUDITED"),
    ],
)
def test_what_is_not_known_is_never_said_to_be_good(
    found: Audit, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(under_test, "audit", lambda packages: found)
    with pytest.raises(SystemExit) as end:
        under_test.main()
    assert end.value.code == code
    assert said in capsys.readouterr().out
