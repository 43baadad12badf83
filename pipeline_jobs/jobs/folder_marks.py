"""What a stage gave, as it is kept for another run: that one has another working folder, and all other text must come back as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline_jobs.job import dumps

#: Stands for the working folder, as in all that releases before this one have kept.
FOLDER_MARK = "@WORKDIR@"
#: How the mark begins. Where a stage's own text says so, U+0001 follows, as JSON writes it: nothing that was kept before had that there.
_WORD, _OWN = "@WORKDIR", "\\u0001"
_MARKED = re.compile(r"@WORKDIR(?:@|\\u0001)")


def without_folder(data: Mapping[str, Any], folder: Path) -> str:
    """As JSON, with marks in the place of the folder. :raises InvalidInput: it is no JSON."""
    # Not the folder first: its own name may look like a mark.
    pieces = dumps(dict(data)).split(_inside_json(folder))
    return FOLDER_MARK.join(piece.replace(_WORD, _WORD + _OWN) for piece in pieces)


def with_folder(text: str, folder: Path) -> Any:
    """What `without_folder` was given, with this folder in the place of that one."""
    here = _inside_json(folder)
    return json.loads(_MARKED.sub(lambda found: here if found[0] == FOLDER_MARK else _WORD, text))


def _inside_json(folder: Path) -> str:
    return dumps(str(folder))[1:-1]
