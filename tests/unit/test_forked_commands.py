"""Commands that a shell's `celery` has forked are as those that it starts."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked_commands, preloaded

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")


def typed(folder: Path, command: str, program: str) -> tuple[int, str, str]:
    """How it ends in a shell that has this for `celery`, and what it says where."""
    celery = folder / "celery"
    celery.write_text(f"#!/bin/sh\n{program}\n")
    celery.chmod(0o755)
    env = {**preloaded.USUAL, "PATH": f"{folder}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-ec", command], cwd=preloaded.ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_forked_command_says_and_ends_as_one_that_is_started(tmp_path: Path) -> None:
    """In a pipe, by its code, and with the settings that stand before it."""
    command = 'PIPELINE_REDIS_ULR=x celery -A celery_app jobs show "job_1_a b" | cat; exit "${PIPESTATUS[0]}"'
    python = shlex.quote(sys.executable)
    forked = typed(tmp_path, command, forked_commands.program(python))
    assert forked == typed(tmp_path, command, f'exec {python} -m celery "$@"')
    assert forked[0] > 0
    assert "did you mean PIPELINE_REDIS_URL" in forked[1] + forked[2]


def test_only_these_are_forked(tmp_path: Path) -> None:
    """What is to be killed by its number is not, nor what is typed in another folder."""
    program = forked_commands.program("echo started")
    for command in ("celery -A celery_app worker", "celery --version", "cd tests; celery -A celery_app jobs list"):
        assert typed(tmp_path, command, program)[1] == f"started -m {command.rpartition('; ')[2]}\n"
    assert "typed_client.py" in typed(tmp_path, "celery -A celery_app jobs list", program)[1]
