"""The shapes that the JSON door takes and gives. Times are RFC 3339 with their offset."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ninja import Field, Schema
from pydantic import ConfigDict


class Problem(Schema):
    code: str
    pointer: str
    message: str


class Now(Schema):
    """Where a proposal stands, to read it again and decide on that."""

    id: int
    state: str
    version: int
    digest: str


class Error(Schema):
    """What happened and what is safe. `pointer` is a JSON pointer (RFC 6901), inside `args` for their faults."""

    code: str
    message: str
    pointer: str | None = None
    problems: list[Problem] | None = None
    current: Now | None = None


class DecideIn(Schema):
    """One verdict on exactly the card that was read: its version and its digest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    verdict: str = Field(description="approve, edit, reject, respond or ask")
    version: int
    digest: str
    args: dict[str, Any] | None = Field(None, description="For an edit: all arguments as they shall be.")
    reason: str = Field("", description="3 to 2,000 characters; needed for reject, respond and ask.")
    confirm: str | None = Field(None, description="The target or an amount, as typed; refused if it names neither.")


class DecideOut(Schema):
    id: int
    state: str
    version: int
    digest: str
    execute_after: datetime | None
    replayed: bool


class InboxRowOut(Schema):
    id: int
    version: int
    digest: str
    title: str
    agent_name: str
    action_name: str
    risk: str
    state: str
    created_at: datetime
    due: datetime
    left_s: float
    claimed_by: str
    confidence: Decimal | None
    approvals_given: int
    approvals_needed: int
    duplicates: int
    may_decide: bool
    is_demo: bool

    @staticmethod
    def resolve_left_s(row: Any) -> float:
        left: timedelta = row.left
        return left.total_seconds()


class InboxOut(Schema):
    items: list[InboxRowOut]
    as_of: datetime
    waiting: int


class DiffRowOut(Schema):
    field: str
    proposed: str
    if_approved: str
    is_watched: bool
    is_changed: bool


class EvidenceOut(Schema):
    label: str
    text: str
    source: str


class PastOut(Schema):
    of: str
    approved: int
    edited: int
    rejected: int


class DecisionOut(Schema):
    verdict: str
    by: str
    by_kind: str
    at: datetime
    reason: str
    is_final: bool
    is_voided: bool


class CardOut(Schema):
    """What the card shows. `args` are the typed arguments; the agent's text is quoted with hidden characters as codes."""

    id: int
    version: int
    digest: str
    state: str
    title: str
    agent_name: str
    action_key: str
    action_name: str
    risk: str
    reversibility: str
    target: str
    subject: str
    consequence: str
    cost_of_delay: str
    diff: list[DiffRowOut]
    args: dict[str, Any] = Field(alias="args_typed")
    args_schema: dict[str, Any]
    is_edited: bool
    evidence: list[EvidenceOut]
    confidence: Decimal | None
    policy: str
    review_reason: str
    approvals_given: int
    approvals_needed: int
    past: PastOut
    agent_text: str
    history: list[DecisionOut]
    claimed_by: str
    claim_until: datetime | None
    created_at: datetime
    deadline: datetime | None
    sla_due: datetime | None
    execute_after: datetime | None
    undo_until: datetime | None
    closed_at: datetime | None
    hold_reason: str
    may_decide: bool
    why_not: str
    may_undo: bool
    on_duty: list[str]
    who_answers: str
    is_demo: bool
