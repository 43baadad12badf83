"""gunicorn's log lines look as ours; and of each request there is one, when its answer has been sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger

from pipeline_jobs import logs
from pipeline_jobs.settings import load_settings
from pipeline_jobs.web.access_line import say_answered


class Logger(GunicornLogger):  # type: ignore[misc]
    """`logger_class`. What gunicorn itself would say of a request quotes its address, with what may be secret in its query."""

    def setup(self, cfg: Any) -> None:
        """Take over the logging of the process; at each load of the configuration."""
        super().setup(cfg)
        logs.configure(load_settings().log_format)
        logs.take_over(self.loglevel)

    def _set_handler(self, log: Any, output: str | None, fmt: Any, stream: Any = None) -> None:
        if output == "-":
            log.propagate = True
        else:
            super()._set_handler(log, output, logs.formatter(load_settings().log_format), stream)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """The answer has been sent, or what could be sent of it."""
        say_answered(environ, str(resp.status), int(resp.sent or 0), request_time.total_seconds())
