"""`python -m tests.known_vulnerabilities`: asks pip-audit about each pinned package.

Exit status 0: none is known to be vulnerable; 1: some are; 2: nothing could be asked.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

LOCKS = ("run", "test", "exporter", "image", "build", "chart")
#: Sources of reports that pip-audit knows, in the order in which they are asked.
SOURCES = ("pypi", "osv")
_PINNED = re.compile(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found out about some packages."""

    #: Those that a source knows.
    known: frozenset[str] = frozenset()
    #: Those of which no source that answered knows anything.
    unknown: frozenset[str] = frozenset()
    #: `name version: id (fixed in ...)`, one a report.
    vulnerable: tuple[str, ...] = ()


def pinned(lock: str) -> list[str]:
    """`name==version` of each package of a lock file, whatever the platform."""
    text = (Path(__file__).resolve().parents[1] / f"requirements/{lock}.lock").read_text("utf-8")
    return [f"{name}=={version}" for name, version in _PINNED.findall(text)]


def read(said: str) -> Audit:
    """pip-audit's JSON; empty where it could not ask."""
    packages = json.loads(said)["dependencies"] if said.strip() else []
    return Audit(
        frozenset(package["name"] for package in packages if "skip_reason" not in package),
        frozenset(package["name"] for package in packages if "skip_reason" in package),
        tuple(
            f"{package['name']} {package['version']}: {report['id']} (fixed in {', '.join(report['fix_versions']) or 'no release'})"
            for package in packages
            for report in package.get("vulns", [])
        ),
    )


def audit(packages: list[str]) -> Audit:
    """By the first source that knows one of these packages (`name==version`); nothing is installed for it."""
    found = Audit()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(packages))
        file.flush()
        for source in SOURCES:
            options = ["--vulnerability-service", source, "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
            command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--no-deps", "--requirement", file.name, *options]
            found = read(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
            if found.known:
                break
    return found


def main() -> None:
    """Audits all lock files."""
    packages = sorted({package for lock in LOCKS for package in pinned(lock)})
    found = audit(packages)
    print(*found.vulnerable, sep="\n")
    print(f"{len(found.known)} of {len(packages)} packages were audited, {len(found.vulnerable)} reports")
    if found.known and found.unknown:
        print(f"NOT AUDITED, since the source does not know them: {', '.join(sorted(found.unknown))}")
    if not found.known:
        print("NOTHING WAS AUDITED: from here, no source of vulnerability reports can be reached that knows one of the packages")
    sys.exit(1 if found.vulnerable else 0 if found.known else 2)


if __name__ == "__main__":
    main()
