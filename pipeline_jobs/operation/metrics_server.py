"""A small HTTP server for a process that has metrics to show and no other face: the exporter, a worker. `GET /metrics`, no more.

It asks for no key: it listens on this machine only, unless PIPELINE_METRICS_HOST says otherwise, and a proxy in front of the API does not
know its port. A web page that a browser here has open is refused: it would come under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import structlog

from pipeline_jobs.exceptions import StoreUnavailable
from pipeline_jobs.operation.metrics import CONTENT_TYPE

logger = structlog.get_logger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    #: A worker that is started again has its port at once.
    allow_reuse_address = True

    def server_bind(self) -> None:
        # Not HTTPServer's: that asks a name server for this machine's name, which may take a minute.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    #: A client that sends no whole request, in seconds.
    timeout = 10

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is nothing to tell."""


def metrics_server(host: str, port: int, text: Callable[[], bytes]) -> WSGIServer:
    """Listens; `serve_forever` serves.

    :param text: the metrics now. :raises OSError: the port is taken.
    """

    def app(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        status, body = _answer(environ, host, text)
        start(status, [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff")])
        return [body]

    return make_server(host, port, app, _Server, _Handler)


def _answer(environ: WSGIEnvironment, host: str, text: Callable[[], bytes]) -> tuple[str, bytes]:
    if _is_local(host) and not _is_local(urlsplit(f"//{environ.get('HTTP_HOST') or host}").hostname or ""):
        return "403 Forbidden", b"this name is not this machine's\n"
    if environ["PATH_INFO"] != "/metrics":
        return "404 Not Found", b"there are metrics at /metrics\n"
    try:
        return "200 OK", text()
    except StoreUnavailable as error:
        return "503 Service Unavailable", f"{error.message}\n".encode()
    except Exception:
        logger.exception("the metrics cannot be shown")
        return "500 Internal Server Error", b"the log has the details\n"


def _is_local(host: str) -> bool:
    """A loopback name or address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
