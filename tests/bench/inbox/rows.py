"""A year of an inbox, written with COPY: so many proposals in all, so many of them open. No rule is asked; the rows only look alike."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from apps.approvals.domain import order
from apps.approvals.domain.digest import Action

OPEN_SPREAD: Final = timedelta(hours=4)
"""The open ones were asked over so long a time, and all have so long to go at least."""
PAST: Final = timedelta(days=365)
LINES: Final = 2_000
"""Rows sent to the server in one piece."""
RISKS: Final = ("low",) * 7 + ("medium",) * 2 + ("high",)
WEIGHED: Final = tuple(order.WEIGHT)
SUCCEEDED, REJECTED, EXPIRED = "succeeded", "rejected", "expired"
ENDS: Final = (SUCCEEDED,) * 17 + (REJECTED,) * 2 + (EXPIRED,)
_NULL: Final = r"\N"


@dataclass(frozen=True, slots=True)
class House:
    """Ids of what the rows point to."""

    team_id: int
    version_ids: Sequence[int]
    fingerprints: Sequence[str]
    kind_ids: Sequence[int]
    policy_ids: Sequence[int]
    reviewer_ids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Size:
    total: int
    open: int

    @property
    def closed(self) -> int:
        return self.total - self.open


class Rows:
    """The lines of three tables, one for each proposal; every column that is not named has its default or is null."""

    PROPOSAL: Final = (
        *(
            "id",
            "kind",
            "team_id",
            "agent_version_id",
            "action_type_id",
            "policy_id",
            "source",
            "external_id",
            "position",
        ),
        *("thread_id", "tool_call_id", "tool_name", "interrupt_id", "title", "args", "args_original", "schema_version"),
        *(
            "target",
            "subject",
            "digest",
            "state_digest",
            "risk_class",
            "reversibility",
            "state",
            "version",
            "executable",
        ),
        *("approvals_needed", "approvals_given", "hold_reason", "confidence", "created_at", "deadline", "closed_at"),
        *("tier", "synthetic"),
    )
    BODY: Final = (
        *("proposal_id", "state_proposed", "state_if_approved", "evidence", "consequence", "agent_text"),
        *("review_reason", "trace_ref", "redacted"),
    )
    DECISION: Final = (
        *("proposal_id", "verdict", "by_kind", "actor_id", "channel", "digest", "policy_version", "reason"),
        *("decided_at", "final", "is_evidence", "synthetic"),
    )

    def __init__(self, house: House, size: Size, now: datetime) -> None:
        self.house = house
        self.size = size
        self.now = now.astimezone(UTC)
        self.every = PAST / max(1, size.closed)

    def proposals(self) -> Iterator[str]:
        house = self.house
        for n in range(1, self.size.total + 1):
            agent, is_open = n % len(house.version_ids), n > self.size.closed
            asked, closed = self._times(n)
            risk = RISKS[n * 7 % 10]
            needed = 2 if risk == "high" else 1
            state = "pending" if is_open else ENDS[n % 20]
            given = needed if state == SUCCEEDED else 0
            args = self._args(n)
            digest = self._digest(n, agent) if is_open else f"sha256:{n:064x}"
            yield (
                f"{n}\tlive\t{house.team_id}\t{house.version_ids[agent]}\t{self._kind(agent, risk)}"
                f"\t{house.policy_ids[agent]}\trun\tbench-{n}\t0\tbench-{n}\tcall-1\troute_ticket\t{n:032x}"
                f"\tRoute T-{n} to queue {n % 8}, priority normal\t{args}\t{args}\t1\tdesk:tickets/T-{n}"
                f"\tcustomer/C-{n % 5000}\t{digest}\t\t{risk}\treversible\t{state}\t1\tt\t{needed}\t{given}\t\t0.{n % 900 + 99:03d}"
                f"\t{asked}\t{self._deadline(n)}\t{closed}\t0\tf\n"
            )

    def bodies(self) -> Iterator[str]:
        before = json.dumps({"queue": "inbox", "priority": None, "status": "new"})
        after = json.dumps({"queue": "queue-1", "priority": "normal", "status": "routed"})
        evidence = json.dumps(
            [{"label": "Ticket", "text": "The VPN drops every few minutes since the update.", "source": "T"}]
        )
        for n in range(1, self.size.total + 1):
            yield (
                f"{n}\t{before}\t{after}\t{evidence}\tApproving moves T-{n} to queue {n % 8}; it can be moved again."
                "\tWe are on it.\tThe policy asks a person every time.\t\t[]\n"
            )

    def decisions(self) -> Iterator[str]:
        """One final verdict for each closed proposal; silence was the clock's."""
        reviewers = self.house.reviewer_ids
        for n in range(1, self.size.closed + 1):
            state = ENDS[n % 20]
            verdict, by = {
                SUCCEEDED: ("approve", "person"),
                REJECTED: ("reject", "person"),
                EXPIRED: ("expire", "timer"),
            }[state]
            actor = str(reviewers[n % len(reviewers)]) if by == "person" else _NULL
            yield (f"{n}\t{verdict}\t{by}\t{actor}\tpage\tsha256:{n:064x}\t1\t\t{self._times(n)[1]}\tt\tt\tf\n")

    def _kind(self, agent: int, risk: str) -> int:
        return self.house.kind_ids[agent * len(WEIGHED) + WEIGHED.index(risk)]

    def _times(self, n: int) -> tuple[str, str]:
        if n > self.size.closed:
            asked = self.now - OPEN_SPREAD * ((n - self.size.closed) / max(1, self.size.open))
            return asked.isoformat(), _NULL
        asked = self.now - OPEN_SPREAD - self.every * (self.size.closed - n)
        return asked.isoformat(), (asked + timedelta(minutes=20)).isoformat()

    def _deadline(self, n: int) -> str:
        return (self.now + OPEN_SPREAD + timedelta(seconds=n % 7200)).isoformat()

    def _args(self, n: int) -> str:
        return f'{{"ticket":"T-{n}","queue":"queue-{n % 8}","priority":"normal","reply":"We are on it."}}'

    def _digest(self, n: int, agent: int) -> str:
        return Action(
            action_type=f"tickets.route-{RISKS[n * 7 % 10]}",
            schema_version=1,
            args=json.loads(self._args(n)),
            target=f"desk:tickets/T-{n}",
            subject=f"customer/C-{n % 5000}",
            agent_fingerprint=self.house.fingerprints[agent],
            policy_version=1,
        ).digest


def fill(url: str, rows: Rows) -> None:
    """Write everything; plain indexes are made after the rows, as a restore makes them."""
    with psycopg.connect(url) as server:
        server.execute("SET maintenance_work_mem = '512MB'")
        # The ids are right by construction: checking eight million keys one by one would take longer than the rows.
        server.execute("SET session_replication_role = replica")
        tables = ("approvals_proposal", "approvals_proposalbody", "approvals_decision")
        indexes = server.execute(
            "SELECT quote_ident(indexname), indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND NOT EXISTS"
            " (SELECT FROM pg_constraint WHERE conindid = (quote_ident(indexname)::regclass)::oid)",
            [list(tables)],
        ).fetchall()
        for name, _ in indexes:
            server.execute(f"DROP INDEX {name}")
        for table, columns, lines in zip(
            tables,
            (rows.PROPOSAL, rows.BODY, rows.DECISION),
            (rows.proposals, rows.bodies, rows.decisions),
            strict=True,
        ):
            _copy(server, table, columns, lines)
        for _, definition in indexes:
            server.execute(definition)
        server.execute("SELECT setval(pg_get_serial_sequence('approvals_proposal', 'id'), %s)", [rows.size.total])
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("VACUUM ANALYZE")


def _copy(server: psycopg.Connection, table: str, columns: Sequence[str], lines: Callable[[], Iterator[str]]) -> None:
    with server.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        piece: list[str] = []
        for line in lines():
            piece.append(line)
            if len(piece) >= LINES:
                copy.write("".join(piece))
                piece.clear()
        copy.write("".join(piece))
