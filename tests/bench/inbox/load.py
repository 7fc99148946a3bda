"""`python -m tests.bench.inbox.load < ORDER.json` sends requests over some connections at once and prints how long each took, in seconds.

A process of its own that knows no Django, so that its work is not counted as the server's. Each connection is one person with one session.
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode


def main() -> None:
    order = json.load(sys.stdin)
    lines = [
        _Line(order, headers, requests) for headers, requests in zip(order["headers"], order["requests"], strict=True)
    ]
    gate = threading.Barrier(len(lines))
    threads = [threading.Thread(target=each.send, args=(gate,)) for each in lines]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    faults = [fault for each in lines for fault in each.faults]
    json.dump(
        {"took": [took for each in lines for took in each.took], "faults": faults[:5], "bytes": lines[0].size},
        sys.stdout,
    )


class _Line:
    """One keep-alive connection that sends its requests one after the other; the first few only warm up."""

    def __init__(self, order: Mapping[str, Any], headers: Mapping[str, str], requests: Sequence[Any]) -> None:
        self.host, self.port = order["host"], order["port"]
        self.expected = order["expected"]
        self.warm_up = order["warm_up"]
        self.headers = dict(headers)
        self.requests = requests
        self.took: list[float] = []
        self.faults: list[str] = []
        self.size = 0

    def send(self, gate: threading.Barrier) -> None:
        line = http.client.HTTPConnection(self.host, self.port, timeout=30)
        line.connect()
        gate.wait()
        for number, (method, path, form) in enumerate(self.requests):
            body = urlencode(form) if form is not None else None
            headers = self.headers | ({"Content-Type": "application/x-www-form-urlencoded"} if body else {})
            began = time.perf_counter()
            line.request(method, path, body, headers)
            answer = line.getresponse()
            text = answer.read()
            took = time.perf_counter() - began
            if number >= self.warm_up:
                self.took.append(took)
            self.size = len(text)
            if answer.status != self.expected:
                self.faults.append(f"{method} {path}: {answer.status} {text[-300:]!r}")
        line.close()


if __name__ == "__main__":
    main()
