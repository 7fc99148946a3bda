"""The shapes that the JSON door takes and gives. Times are RFC 3339 with their offset."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

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


class OpenFirst(Schema):
    """A card to open before the bulk verdict; `url` is its page."""

    id: int
    url: str


class Error(Schema):
    """What happened and what is safe. `pointer` is a JSON pointer (RFC 6901), inside `args` for their faults."""

    code: str
    message: str
    pointer: str | None = None
    problems: list[Problem] | None = None
    current: Now | None = None
    open_first: list[OpenFirst] | None = Field(None, description="For open_first: which cards, and where.")
    retry_after: int | None = Field(None, description="Seconds, as in the header Retry-After.")


class DecideIn(Schema):
    """One verdict on exactly the card that was read: its version and its digest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    verdict: str = Field(description="approve, edit, reject, respond or ask")
    version: int
    digest: str
    args: dict[str, Any] | None = Field(None, description="For an edit: all arguments as they shall be.")
    reason: str = Field("", description="3 to 2,000 characters; needed for reject, respond and ask.")
    confirm: str | None = Field(None, description="The target or an amount, as typed; refused if it names neither.")


class RevealOut(Schema):
    """What a card really was, once it is decided: a drill."""

    status: str = Field(description="ok or bad: whether the planted fault was caught")
    title: str
    text: str


class DecideOut(Schema):
    id: int
    state: str
    version: int
    digest: str
    execute_after: datetime | None
    replayed: bool
    reveal: RevealOut | None = Field(description="What the card really was, if it was planted; else null.")


class BulkItemIn(Schema):
    """One card as the group showed it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: int
    version: int
    digest: str = Field(max_length=71)


class BulkIn(Schema):
    """One verdict on several cards of one group. Only what `shown` signs counts, for 15 minutes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    verdict: str = Field(description="approve or reject")
    shown: str = Field(max_length=20_000, description="As the group gave it.")
    items: list[BulkItemIn] = Field(max_length=1_000, description="At most 50; more are refused: too_many.")
    reason: str = Field("", description="3 to 2,000 characters; needed for reject.")


class BulkResultOut(Schema):
    id: int
    outcome: str = Field(description="decided, replayed or refused")
    code: str | None = None
    message: str | None = None


class BulkOut(Schema):
    results: list[BulkResultOut]


class GroupOut(Schema):
    group: str
    action: str
    risk: str
    policy: str
    count: int


class GroupItemOut(Schema):
    """One card of the group. `open_first`: to decide all of these, open it before, by GET of the proposal."""

    id: int
    version: int
    digest: str
    title: str
    opened: bool
    open_first: bool


class GroupsOut(Schema):
    """What may be decided together; with `?group=` also its cards and the `shown` that a bulk verdict carries."""

    groups: list[GroupOut]
    items: list[GroupItemOut] | None = None
    shown: str | None = None


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


class EvidenceIn(Schema):
    model_config = ConfigDict(extra="forbid", strict=True)

    label: str = Field("", max_length=200)
    text: str = Field("", max_length=8000)
    source: str = Field("", max_length=300)


class FactsIn(Schema):
    """What the card says about an action besides its name and arguments. All of it is shown as the agent's word."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action_type: str = Field("", max_length=60, description="The key of the action type; empty: the tool's own name.")
    target: str = Field(
        "", max_length=200, description="system:collection/id in the agent's own system; empty: system:action_type."
    )
    subject: str = Field("", max_length=200, description="Whom it concerns, for example customer/C-77.")
    title: str = Field("", max_length=200)
    evidence: list[EvidenceIn] = Field(default_factory=list, max_length=50)
    agent_text: str = Field("", max_length=4000, description="The agent's own words; shown closed, marked untrusted.")
    confidence: float | None = Field(None, ge=0, le=1, description="Absent: not stated.")
    state: dict[str, Any] = Field(default_factory=dict, description="Watched fields of the target as just read.")
    state_if_approved: dict[str, Any] = Field(default_factory=dict)
    sla_due: Annotated[datetime, Field(strict=False)] | None = None
    trace_ref: str = Field("", max_length=120)


class RequestIn(FactsIn):
    """One message: plain with `action_type` and `args`, or a `payload` in the `format` named; then `actions` by position."""

    args: dict[str, Any] | None = Field(None, description="Of the plain format.")
    format: str = Field("plain", description="plain, langchain.call, langchain.batch, agent_inbox or ag_ui")
    payload: Any = Field(None, description="The interrupt as the framework surfaces it, or its JSON text.")
    thread: str = Field(
        "", max_length=200, description="The agent's own thread: its requests of one thread belong together."
    )
    external_id: str = Field("", max_length=120, description="The agent's own id: asked twice, it is one request.")
    actions: list[FactsIn] = Field(
        default_factory=list, max_length=50, description="More about each action, by position."
    )


class SaidOut(Schema):
    type: str = Field(description="approve, edit, reject, respond, ask, expired, stale, withdrawn or recorded")
    by_kind: str = Field(description="person, policy, timer, agent or system")
    message: str
    at: datetime | None


class ActionOut(Schema):
    """Where one action stands. Only an `approved` one may be consumed, with this `digest` and exactly these `args`."""

    position: int
    proposal_id: int
    name: str
    action_type: str
    target: str
    subject: str
    status: str = Field(description="pending, approved, denied, expired or cancelled")
    state: str
    version: int
    digest: str
    args: dict[str, Any]
    edited: bool
    consumed: bool
    outcome: str | None = Field(description="succeeded, failed, unknown or rolled_back, once it is known")
    decision: SaidOut | None
    reason: str
    choices: list[str] = Field(description="The verdicts on offer to people while it is pending.")
    risk: str
    approvals_given: int
    approvals_needed: int
    deadline: datetime | None
    execute_after: datetime | None
    valid_until: datetime | None
    outcome_due: datetime | None = Field(description="Without an outcome by then it counts as unknown.")


class RequestOut(Schema):
    """Where a request stands. With one action its facts stand here too; with several they are null here."""

    id: int
    status: str = Field(description="pending, approved (all of it), denied, expired or cancelled")
    format: str
    thread: str
    external_id: str
    created_at: datetime
    digest: str | None
    edited: bool | None
    consumed: bool | None
    outcome: str | None
    decision: SaidOut | None
    reason: str | None
    choices: list[str]
    actions: list[ActionOut]
    answer: Any = Field(description="Null while pending; then what the agent resumes with, in the format it asked in.")


class ConsumeIn(Schema):
    model_config = ConfigDict(extra="forbid", strict=True)

    digest: str = Field(description="Of the action that is about to be executed, as the request showed it.")
    position: int | None = Field(None, description="Which action, where two of a message are the same.")
    state: dict[str, Any] | None = Field(
        None, description="Watched fields as just read; used where the system is not connected here."
    )


class ConsumeOut(Schema):
    """The one permission to act. `execution_key` is the idempotency key to send with the write."""

    id: int
    position: int
    proposal_id: int
    digest: str
    target: str
    args: dict[str, Any]
    execution_key: str
    consumed_at: datetime | None
    outcome_due: datetime
    replay: bool


class OutcomeIn(Schema):
    model_config = ConfigDict(extra="forbid", strict=True)

    status: Literal["succeeded", "failed"]
    note: str = Field("", max_length=2000)
    ref: str = Field("", max_length=200, description="What the system of record calls what was written.")
    position: int | None = None


class OutcomeOut(Schema):
    id: int
    position: int
    proposal_id: int
    outcome: str
