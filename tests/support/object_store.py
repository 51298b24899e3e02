"""A real HTTP server that keeps objects in files: PUT never over what is there (If-None-Match), GET, HEAD."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def object_store(directory: Path) -> Iterator[str]:
    """Serve a directory and yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def file(self) -> Path:
            return directory / self.path.strip("/")

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("if-none-match") == "*" and self.file().exists():
                self.answer(412)
                return
            self.file().parent.mkdir(parents=True, exist_ok=True)
            self.file().write_bytes(body)
            self.answer(201)

        def do_GET(self) -> None:
            if self.file().is_file():
                self.answer(200, self.file().read_bytes())
            else:
                self.answer(404)

        do_HEAD = do_GET  # noqa: N815 - the library's name

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
