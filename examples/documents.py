"""`documents`: an uploaded zip of HTML and text files becomes plain text and a published index: word -> files."""

import json
import re
import zipfile
from html import unescape
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline_jobs.context import JobContext
from pipeline_jobs.exceptions import BadParameters
from pipeline_jobs.pipelines import Pipeline, Stage, register


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid")
    upload: str = Field(description="Id of the upload, a zip of .html and .txt files.")
    max_bytes: int = Field(100_000_000, gt=0, description="The longest text of a file, unpacked.")


def extract(context: JobContext) -> dict[str, Any]:
    source, texts = context.workdir / "documents.zip", {}
    with source.open("wb") as file:
        file.writelines(context.open_upload(context.params["upload"])[1])
    if not zipfile.is_zipfile(source):
        raise BadParameters("the upload is no zip")
    with zipfile.ZipFile(source) as archive:
        for name in (one for one in archive.namelist() if one.endswith((".html", ".txt"))):
            text = archive.open(name).read(context.params["max_bytes"]).decode(errors="replace")
            texts[name] = " ".join(unescape(re.sub(r"<[^<>]*>", " ", text)).split())
            context.log.info("%s has %d characters", name, len(texts[name]))
    return {"texts": texts}


def index(context: JobContext) -> dict[str, Any]:
    path, found = context.workdir / "index.json", dict[str, list[str]]()
    for number, (name, text) in enumerate(context.data["texts"].items(), 1):
        for word in sorted(set(re.findall(r"\w+", text.lower()))):
            found.setdefault(word, []).append(name)
        context.progress(number / len(context.data["texts"]), name)
    path.write_text(json.dumps(found))
    return {"words": len(found), "index_url": context.publish(path, "index.json")}


def result(data: Any) -> dict[str, Any]:
    return {name: data[name] for name in ("words", "index_url")}


DOCUMENTS = register(Pipeline("documents", (Stage("extract", extract), Stage("index", index)), Params, needs_url=False, result=result))
