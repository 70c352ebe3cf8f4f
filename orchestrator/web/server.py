"""A small HTTP server on 127.0.0.1 for the pages of a store; it answers GET and nothing else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from orchestrator.errors import UsageError
from orchestrator.web.pages import Answer, Pages

_HOST = "127.0.0.1"
_PREFERRED_PORT = 5080
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Rights of a page, should a trial's text ever get into it as code: talk to this server alone."""


@contextmanager
def serving(pages: Pages, port: int | None = None) -> Iterator[str]:
    """Serve `pages` in a thread and give their address, such as `http://127.0.0.1:5080`.

    Without a `port` it is 5080, or a free one. Raises `UsageError` where `port` is taken.
    """
    server = _bound(pages, port)
    thread = threading.Thread(target=server.serve_forever, name="report page", daemon=True)
    thread.start()
    try:
        yield f"http://{_HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int, pages: Pages) -> None:
        self.pages = pages
        super().__init__((_HOST, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 30.0
    server_version = "orchestrator"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one request."""
        if not self._is_for_us():
            self._send(Answer(HTTPStatus.FORBIDDEN, "this server only answers to 127.0.0.1"))
            return
        self._send(self.server.pages.answer(self.path))

    def _is_for_us(self) -> bool:
        """False for a page of another site whose name was pointed at this machine."""
        try:
            host = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:
            return False
        return host in (_HOST, "localhost", "::1")

    def _send(self, answer: Answer) -> None:
        content = answer.html.encode("utf-8", "replace")
        self.send_response(answer.status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        try:
            self.wfile.write(content)
        except ConnectionError:
            self.close_connection = True  # the window was closed meanwhile

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a window asks every two seconds."""


def _bound(pages: Pages, port: int | None) -> _Server:
    try:
        return _Server(port or _PREFERRED_PORT, pages)
    except OSError as error:
        if port is None:
            return _Server(0, pages)
        hint = "choose another with --report-port, or leave it out for a free one"
        message = f"port {port} of {_HOST} cannot be used ({error.strerror}); {hint}"
        raise UsageError(message) from error
