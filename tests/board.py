"""A system of record on loopback, in a thread of the tests: the proposals that factories make have their targets here."""

import json
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What every record looks like until a test says otherwise; factories propose on exactly this.
AS_PROPOSED = {"status": "open", "queue": "inbox"}
HANGS_AT_MOST = 10


class Board:
    """Answers GET for any record. A test changes one, lets the board break, or lets it hang."""

    def __init__(self):
        self.reset()
        board = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                board.asked.append(self.path)
                board.may_answer.wait(HANGS_AT_MOST)
                code, record = board.answer(self.path)
                body = json.dumps(record).encode()
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def reset(self):
        self.changed, self.gone, self.asked = {}, set(), []
        self.is_broken = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def change(self, target, **fields):
        """Change a record behind everybody's back."""
        self.changed.setdefault(_path(target), {}).update(fields)

    def remove(self, target):
        self.gone.add(_path(target))

    def answer(self, path):
        if self.is_broken:
            return 500, {"message": "broken"}
        if path in self.gone:
            return 404, {"message": "gone"}
        return 200, {**AS_PROPOSED, **self.changed.get(path, {})}


def _path(target):
    return "/" + target.partition(":")[2]


@cache
def board():
    """Return the one board of this process, started at its first use."""
    return Board()
