"""A real HTTP server on loopback that answers as a test tells it, and remembers what it was sent."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver:
    def __init__(self):
        self.requests = []
        self.answers = []
        self.is_silent = threading.Event()
        self.may_end = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                receiver.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                if receiver.is_silent.is_set():
                    receiver.may_end.wait(30)
                    return
                status, headers, text = receiver.answers.pop(0) if receiver.answers else (200, {}, b"ok")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/one"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def answer(self, status, text=b"", **headers):
        """Say what the next request gets; then it is "ok" again."""
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, text))

    def close(self):
        self.may_end.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
