"""Outputs that earlier stages have told: written down as files."""

from __future__ import annotations

import json

from pipeline_jobs.media.outputs.making import CannotMake, Made, Making


def speakers(making: Making) -> Made:
    """`speakers.json`: `{"speakers": [{"name", "seconds"}], "turns": [{"start", "end", "speaker"}]}`. :raises CannotMake:"""
    data = making.context.data
    if not data.get("turns"):
        raise CannotMake("no speakers could be told apart")
    making.file("speakers.json").write_text(json.dumps({"speakers": data["speakers"], "turns": data["turns"]}, indent=1), encoding="utf-8")
    return Made(("speakers.json",))
