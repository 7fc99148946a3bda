"""The tables of this room, by noun."""

from apps.approvals.models.attention import CardView, Delegation, SavedView, Snooze
from apps.approvals.models.decisions import UNDELIVERED, Decision, ResumeOutbox
from apps.approvals.models.notices import Channel, Notice
from apps.approvals.models.outside import OutsideRequest
from apps.approvals.models.policies import ApprovalPolicy
from apps.approvals.models.proposals import AFTER_CONSENT, OPEN, Proposal, ProposalBody, State
from apps.approvals.models.vigilance import Drill, SecondLook, Vigilance

__all__ = [
    "AFTER_CONSENT",
    "OPEN",
    "UNDELIVERED",
    "ApprovalPolicy",
    "CardView",
    "Channel",
    "Decision",
    "Delegation",
    "Drill",
    "Notice",
    "OutsideRequest",
    "Proposal",
    "ProposalBody",
    "ResumeOutbox",
    "SavedView",
    "SecondLook",
    "Snooze",
    "State",
    "Vigilance",
]
