"""The verbs of one gate: start it, give evidence, submit it, sign or refuse it."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import transaction

from apps.accounts.models import User
from apps.programs.actions.attesting import open_round, re_attest
from apps.programs.actions.board import Board, locked_board
from apps.programs.actions.readings import keep_reading
from apps.programs.domain.states import Event, Kind, State, Verdict, may_submit
from apps.programs.errors import BadEvidence, NotYours, ProgramError
from apps.programs.metrics import read_gate
from apps.programs.models import Evidence, Gate, GateReading, SignOff
from apps.programs.queries import missing_evidence, needs_number, newest_evidence, why_not_this_person


@transaction.atomic
def start_gate(gate: Gate, *, actor: User, at: datetime | None = None) -> Gate:
    """Take a gate up; the one who starts it owns it."""
    board = locked_board(gate, at=at)
    row = board.gate(gate.pk)
    if row.owner_id is None:
        row.owner = actor
        row.save(update_fields=["owner"])
    board.happen(row, Event(Kind.STARTED, board.today), actor=actor.actor)
    board.settle_all()
    return row


@transaction.atomic
def add_evidence(
    gate: Gate, *, item: int, name: str, url: str, actor: User, note: str = "", at: datetime | None = None
) -> Evidence:
    """Keep a new version of one item of evidence. A gate that had passed goes back to its owning team: a new round.

    Who gives the evidence asks for the round, so that somebody else must sign it.
    """
    board = locked_board(gate, at=at)
    row = board.gate(gate.pk)
    if row.mode == "automatic":
        raise ProgramError(f"{row.key} is computed from records; it takes no evidence.")
    if not 0 <= item < len(row.evidence_items):
        raise BadEvidence("This gate has no such item of evidence.")
    version = row.evidence.filter(item=item).count() + 1
    evidence = row.evidence.create(
        item=item, version=version, name=name, url=url, note=note, uploaded_by=actor, at=board.at
    )
    told: dict[str, object] = {"item": item, "version": version, "url": url}
    if row.state in {State.PASSED, State.WAIVED}:
        told["reason"] = f"Evidence {item + 1} has a new version {version}."
        told["round"] = open_round(row, requester_id=actor.pk, at=board.at)
        board.happen(row, Event(Kind.REOPENED, board.today), actor=actor.actor, payload=told)
    else:
        board.happen(row, Event(Kind.EVIDENCE, board.today), actor=actor.actor, payload=told)
    board.settle_all()
    return evidence


@transaction.atomic
def submit_gate(gate: Gate, *, actor: User, at: datetime | None = None) -> SignOff:
    """Put a gate before its owning team: a new round. Every item of evidence must be there."""
    board = locked_board(gate, at=at)
    row = board.gate(gate.pk)
    if row.mode == "automatic":
        raise ProgramError(f"{row.key} is computed from records; nobody submits or signs it.")
    if row.state == State.SUBMITTED:
        raise ProgramError(f"{row.key} waits for {row.team} already.")
    if not may_submit(State(row.state)):
        raise ProgramError(f"{row.key} is {row.get_state_display()}; there is nothing to submit.")
    _ensure_complete(row)
    number = open_round(row, requester_id=actor.pk, at=board.at)
    board.happen(row, Event(Kind.SUBMITTED, board.today), actor=actor.actor, payload={"round": number})
    board.settle_all()
    return row.sign_offs.get(round=number)


@transaction.atomic
def sign_gate(gate: Gate, *, actor: User, reason: str = "", at: datetime | None = None) -> SignOff:
    """Record the owning team's consent on the evidence as it stands, and on the agent as it is now.

    No gate passes while a prerequisite is open. A hybrid gate's number is read at this instant and must pass.
    """
    board = locked_board(gate, at=at)
    re_attest(board)
    row = board.gate(gate.pk)
    sign_off = _open_round(row, actor)
    _ensure_complete(row)
    waits_on = board.waits_on(row)
    if waits_on:
        raise ProgramError(f"{row.key} cannot pass while it waits on " + ", ".join(waits_on) + ".")
    reading = _passing_reading(board, row) if row.mode == "hybrid" else None
    valid_until = board.today + timedelta(days=row.validity_days)
    version = row.program.agent.versions.filter(is_current=True).first()
    frozen = {
        "evidence": [[each.item, each.version, each.url] for each in newest_evidence(row)],
        "reading": reading.pk if reading else None,
        "fingerprint": version.fingerprint if version else "",
        "catalogue": row.program.catalogue.version,
        "valid_until": valid_until.isoformat(),
    }
    _close_round(sign_off, actor=actor, outcome=SignOff.Outcome.SIGN, reason=reason, at=board.at, frozen=frozen)
    board.happen(
        row,
        Event(Kind.SIGNED, board.today, valid_until=valid_until),
        actor=actor.actor,
        payload={"round": sign_off.round, "reason": reason},
    )
    board.settle_all()
    return sign_off


@transaction.atomic
def refuse_gate(gate: Gate, *, actor: User, reason: str, at: datetime | None = None) -> SignOff:
    """Record the owning team's refusal, with its reason."""
    if not reason.strip():
        raise BadEvidence("Say why, so that the next round can answer it.")
    board = locked_board(gate, at=at)
    row = board.gate(gate.pk)
    sign_off = _open_round(row, actor)
    _close_round(sign_off, actor=actor, outcome=SignOff.Outcome.REFUSE, reason=reason, at=board.at, frozen={})
    board.happen(
        row,
        Event(Kind.REFUSED, board.today),
        actor=actor.actor,
        payload={"round": sign_off.round, "reason": reason},
    )
    board.settle_all()
    return sign_off


def _open_round(gate: Gate, actor: User) -> SignOff:
    if gate.mode == "automatic":
        raise ProgramError(f"{gate.key} is computed from records; nobody can tick it.")
    sign_off = gate.sign_offs.filter(outcome="").order_by("-round").first()
    requester = sign_off.requester_id if sign_off else None
    obstacle = why_not_this_person(actor, gate, requester_id=requester, evidence=newest_evidence(gate))
    if obstacle:
        raise NotYours(obstacle, subject=f"gate:{gate.pk}", team_id=gate.program.home_team_id)
    if sign_off is None or gate.state != State.SUBMITTED:
        raise ProgramError(f"{gate.key} has not been submitted.")
    return sign_off


def _ensure_complete(gate: Gate) -> None:
    # Nobody submitted what a waiver carried until something re-opened it, so a signature asks again.
    missing = missing_evidence(gate, newest_evidence(gate))
    if missing:
        raise BadEvidence(missing)


def _passing_reading(board: Board, gate: Gate) -> GateReading:
    """Read the number now and keep it before the signature that rests on it."""
    reading = read_gate(gate, at=board.at)
    if reading.verdict is not Verdict.PASS:
        raise ProgramError(needs_number(gate, reading))
    before = gate.readings.order_by("-at", "-pk").first()
    kept = keep_reading(gate, reading, before=before, at=board.at)
    event = Event(Kind.READING, board.today, reading.verdict)
    board.happen(gate, event, actor="timer", payload={"text": reading.text})
    return kept


def _close_round(
    sign_off: SignOff, *, actor: User, outcome: str, reason: str, at: datetime, frozen: Mapping[str, object]
) -> None:
    sign_off.signer, sign_off.outcome, sign_off.reason = actor, outcome, reason
    sign_off.decided_at, sign_off.frozen = at, dict(frozen)
    sign_off.save(update_fields=["signer", "outcome", "reason", "decided_at", "frozen"])
