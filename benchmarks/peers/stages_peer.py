"""The stages of the `media` pipeline called one after another by a bare script: no store, no worker, nobody who watches."""

import shutil
import tempfile
import time
from pathlib import Path

from talk import serve

from pipeline_jobs.context import JobContext
from pipeline_jobs.media import analyse, fetch, probe, transcode, transcribe
from pipeline_jobs.media import publish as publishing
from pipeline_jobs.media.pipeline import MEDIA
from pipeline_jobs.settings import load_settings

settings = load_settings()


class Nobody:
    def report(self, stage, percent, message):
        pass

    def check(self):
        pass


def media(url, quality):
    """Seconds from the first stage to the last."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as published:

        def publish(path, name):
            return str(shutil.copy(path, Path(published) / name))

        context = JobContext(
            job_id="job_1_00000000", tenant_id="acme", workspace_id="main", url=url, quality=quality, params=MEDIA.check_params({}),
            workdir=Path(folder), settings=settings, reporter=Nobody(), publish=publish,
        )  # fmt: skip
        # In this process, with no child and no walls.
        for stage in (fetch, probe, transcode, transcribe, analyse, publishing):
            context.data.update(stage.run(context) or {})
    return [time.perf_counter() - start, context.data["transcript"]]


if __name__ == "__main__":
    serve(media=media)
