"""`python -m tests.flows.decider ORDER.json` decides every proposal over HTTP by its label until it is told to stop (SIGTERM).

A process of its own, so that nothing but the web process answers it. It knows no Django and no database.
"""

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import httpx

from tests.flows.person import sign_in

PAGE: Final = 100
HANDS: Final = 2
"""So many verdicts are on their way at once."""
PAUSE: Final = 0.3
"""Seconds between two looks at an empty inbox."""
TWICE_EVERY: Final = 20
WHY_REJECTED: Final = "No queue is right for this; a person takes it."
KNOWN_CONFLICTS: Final = frozenset({"already_decided", "changed", "claimed", "expired", "stale"})


@dataclass(slots=True)
class Report:
    """What the decider did and how it was answered. `faults` must stay empty."""

    decided: dict[str, str] = field(default_factory=dict)
    twice: Counter[str] = field(default_factory=Counter)
    took: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Decider:
    def __init__(self, client: httpx.Client, queues: Mapping[str, str | None]) -> None:
        self.client = client
        self.queues = queues
        self.report = Report()
        self.pool = ThreadPoolExecutor(HANDS)
        self.extra = ThreadPoolExecutor(HANDS)
        self.lock = threading.Lock()
        self.number = 0
        self.is_over = threading.Event()

    def work(self) -> None:
        """Decide page after page; whoever is told to stop ends the page in hand."""
        while not self.is_over.is_set():
            waiting = self.client.get("/api/v1/proposals", params={"limit": PAGE}).raise_for_status().json()["items"]
            list(self.pool.map(self.decide, waiting))
            if not waiting:
                self.is_over.wait(PAUSE)

    def decide(self, row: Mapping[str, Any]) -> None:
        """Read the card, then send the verdict that its label asks for; every twentieth one twice at the same moment."""
        card = self.client.get(f"/api/v1/proposals/{row['id']}").raise_for_status().json()
        verdict = self.verdict(card)
        with self.lock:
            self.number += 1
            is_twin = self.number % TWICE_EVERY == 0
        twin = self.extra.submit(self.post, row["id"], verdict) if is_twin else None
        answer = self.post(row["id"], verdict)
        told = [answer] if twin is None else [answer, twin.result()]
        with self.lock:
            self.note(row["id"], verdict["verdict"], told)

    def verdict(self, card: Mapping[str, Any]) -> dict[str, Any]:
        args = card["args"]
        right = self.queues[args["ticket"]]
        seen = {"version": card["version"], "digest": card["digest"]}
        if right is None:
            return {"verdict": "reject", "reason": WHY_REJECTED, **seen}
        if args["queue"] == right:
            return {"verdict": "approve", **seen}
        return {"verdict": "edit", "args": {**args, "queue": right}, **seen}

    def post(self, proposal_id: int, verdict: Mapping[str, Any]) -> httpx.Response:
        began = time.perf_counter()
        answer = self.client.post(f"/api/v1/proposals/{proposal_id}/decide", json=verdict)
        self.report.took.append(time.perf_counter() - began)
        return answer

    def note(self, proposal_id: int, verdict: str, answers: list[httpx.Response]) -> None:
        told = [_told(each) for each in answers]
        if "decided" in told:
            self.report.decided[str(proposal_id)] = verdict
        if len(told) > 1:
            self.report.twice[" and ".join(sorted(told))] += 1
        # A verdict is taken once; its twin is a replay, or a conflict that the interface documents.
        if told.count("decided") != 1 or not all(each == "replayed" or each in KNOWN_CONFLICTS for each in rest(told)):
            self.report.faults.append(f"proposal {proposal_id}, {verdict}: {', '.join(told)}")


def rest(told: list[str]) -> list[str]:
    others = list(told)
    if "decided" in others:
        others.remove("decided")
    return others


def _told(answer: httpx.Response) -> str:
    if answer.status_code == httpx.codes.OK:
        return "replayed" if answer.json()["replayed"] else "decided"
    if answer.status_code == httpx.codes.CONFLICT:
        return str(answer.json()["code"])
    return f"{answer.status_code} {answer.text[:200]}"


def main(path: Path) -> None:
    order = json.loads(path.read_text())
    client = sign_in(order["url"], email=order["email"], password=order["password"], connections=3 * HANDS)
    decider = Decider(client, order["queues"])

    def stop(number: int, frame: FrameType | None) -> None:
        decider.is_over.set()

    signal.signal(signal.SIGTERM, stop)
    try:
        decider.work()
    finally:
        report = decider.report
        Path(order["report"]).write_text(
            json.dumps(
                {
                    "decided": report.decided,
                    "twice": report.twice,
                    "took": report.took,
                    "faults": report.faults,
                }
            )
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
