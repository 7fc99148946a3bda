from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.core.exceptions import PermissionDenied

from apps.accounts.models import User
from apps.agents.models import RiskClass
from apps.approvals import errors, shown
from apps.approvals.actions import verdicts
from apps.approvals.domain import bulk
from apps.approvals.domain.bulk import Shown
from apps.approvals.models import Proposal
from apps.approvals.queries.opened import opened_by

DECIDED: Final = "decided"
REPLAYED: Final = "replayed"
REFUSED: Final = "refused"
_NOT_SHOWN: Final = "The page did not show it like this, or it is older than 15 minutes. Load the page again."
_HIGH_RISK: Final = "High risk is decided one by one."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one card: decided, replayed or refused, with the code and the words of the refusal."""

    id: int
    outcome: str
    code: str = ""
    message: str = ""
    refusal: Exception | None = None


def decide_bulk(
    items: Sequence[Shown],
    *,
    token: str,
    verdict: str,
    reason: str = "",
    actor: User,
    channel: str = "page",
    at: datetime | None = None,
) -> list[Outcome]:
    """Give one verdict on many cards of one page, each in its own transaction and with its own outcome (R3).

    `token` is the page's signature of what it showed. Raises before anything is decided: TooManyAtOnce, BadVerdict, or
    OpenFirst with the ids of cards that this person must look at first.
    """
    _ensure_well_formed(items, verdict, reason)
    chosen = list({each.id: each for each in items}.values())
    seen = shown.read(token, user_id=actor.pk)
    high = _of_high_risk(chosen)
    fit = [each for each in chosen if each in seen and each.id not in high]
    _ensure_opened([each.id for each in fit], seen, actor)
    outcomes = []
    # A system that is down is waited for once, not once for each card.
    down: set[str] = set()
    for each in chosen:
        if each not in seen:
            outcomes.append(Outcome(each.id, REFUSED, "not_shown", _NOT_SHOWN))
        elif each.id in high:
            outcomes.append(Outcome(each.id, REFUSED, "high_risk", _HIGH_RISK))
        else:
            outcomes.append(
                _decide(each, verdict=verdict, reason=reason, actor=actor, channel=channel, down=down, at=at)
            )
    return outcomes


def _ensure_well_formed(items: Sequence[Shown], verdict: str, reason: str) -> None:
    if len(items) > bulk.MOST:
        told = f"At most {bulk.MOST} cards are decided at once. Nothing was decided."
        raise errors.TooManyAtOnce(told, pointer="/items")
    if not items:
        raise errors.BadVerdict("Select a card first. Nothing was decided.", code="no_items", pointer="/items")
    if verdict not in bulk.VERDICTS:
        raise errors.BadVerdict(f"Choose one of: {', '.join(bulk.VERDICTS)}.", pointer="/verdict")
    length = len(reason.strip())
    if (verdict == "reject" and length < verdicts.SHORTEST_REASON) or length > verdicts.LONGEST_REASON:
        raise errors.BadVerdict(
            "Give a reason of 3 to 2,000 characters. Nothing was decided.", code="bad_reason", pointer="/reason"
        )


def _of_high_risk(chosen: Sequence[Shown]) -> set[int]:
    rows = Proposal.objects.filter(pk__in=[each.id for each in chosen], risk_class=RiskClass.HIGH)
    return set(rows.values_list("pk", flat=True))


def _ensure_opened(ids: Sequence[int], seen: Sequence[Shown], actor: User) -> None:
    wanted = bulk.sample(ids, shown=seen, key=shown.sample_key(actor.pk))
    opened = opened_by(actor, wanted)
    unopened = [each for each in wanted if each not in opened]
    if unopened:
        raise errors.OpenFirst(unopened)


def _decide(
    card: Shown, *, verdict: str, reason: str, actor: User, channel: str, down: set[str], at: datetime | None
) -> Outcome:
    try:
        decided = verdicts.decide_proposal(
            card.id,
            verdict=verdict,
            version=card.version,
            digest=card.digest,
            reason=reason,
            actor=actor,
            channel=channel,
            down=down,
            at=at,
        )
    except errors.Refused as refusal:
        return Outcome(card.id, REFUSED, refusal.code, refusal.message, refusal)
    except PermissionDenied as refusal:
        return Outcome(card.id, REFUSED, "forbidden", "You may not decide this one.", refusal)
    return Outcome(card.id, REPLAYED if decided.replayed else DECIDED)
