"""Policies as pages show them: which is in force, what each version says and changes, and how one case fares under it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import QuerySet
from django.http import Http404

from apps.accounts.access import object_or_404, scoped
from apps.accounts.models import User
from apps.accounts.queries import names_of_people, users_with
from apps.agents.models import ActionType, Agent
from apps.agents.queries import may
from apps.approvals.domain import explained, policy, terms, window
from apps.approvals.domain.explained import RuleRead, Vocabulary
from apps.approvals.domain.fields import Field, fields_of, labels_of
from apps.approvals.domain.policy import Assessment, Conditions, Facts, default_key
from apps.approvals.domain.terms import Change, Terms
from apps.approvals.models import ApprovalPolicy, Proposal
from apps.approvals.queries.rules import ClockTimestamp, facts_of
from apps.approvals.queries.visible import visible
from apps.audit.names import names_of

# So many past proposals are offered for a worked explanation.
OFFERED: Final = 20


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One line of the list: an action type and the version in force; version 0 is the default that nobody wrote down."""

    key: str
    agent_name: str
    action_name: str
    risk: str
    version: int
    since: datetime | None
    author: str
    note: str
    summary: str
    is_readable: bool
    is_demo: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionView:
    """One version in words; `changes` is what it changed. `problem` says why it cannot be read, and then two people decide."""

    version: int
    since: datetime | None
    author: str
    note: str
    terms: Terms | None
    problem: str
    sentences: tuple[str, ...]
    rules: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPage:
    """Everything that the page of one policy shows. `shown` is the version asked for, else the one in force."""

    key: str
    action_type: ActionType
    shown: VersionView
    in_force: VersionView
    versions: tuple[VersionView, ...]
    fields: tuple[Field, ...]
    vocabulary: Vocabulary
    reviewers: tuple[tuple[int, str], ...]
    may_change: bool
    may_see_args: bool

    @property
    def name(self) -> str:
        return self.action_type.name


@dataclass(frozen=True, slots=True)
class Explanation:
    """How one case fares under one version: the verdict, and what each rule made of it."""

    of: str
    proposal_id: int | None
    assessment: Assessment
    rules: tuple[RuleRead, ...]


def policy_rows(user: User, *, agent: Agent | None = None) -> list[PolicyRow]:  # 3 queries besides rights, any length
    """Return the policies of a person's teams, or of one agent, by agent and action."""
    seen = scoped(ActionType.objects.select_related("agent"), user, "agents.view", team="agent__team")
    if agent is not None:
        seen = seen.filter(agent=agent)
    kinds = list(seen.order_by("agent__name", "name", "pk"))
    newest = _active(kinds).order_by("action_type", "-version").distinct("action_type")
    found = {each.action_type_id: each for each in newest}
    rows = [found.get(each.pk) or default_policy(each) for each in kinds]
    names = names_of(each.author for each in rows)
    return [_row(each, kind, names) for each, kind in zip(rows, kinds, strict=True)]


def policy_page(user: User, key: str, *, version: int | None = None) -> PolicyPage:  # 5 queries besides rights
    """Return the page of a policy. Outsiders and unknown keys get a 404, members without the right a 403."""
    kind = _kind_of(user, key)
    rows = list(_active([kind]).order_by("version")) or [default_policy(kind)]
    reviewers = tuple(
        users_with("approvals.decide", kind.agent.team_id).order_by("name", "pk").values_list("pk", "name")
    )
    vocabulary = Vocabulary(labels_of(kind.args_schema), _people(rows, reviewers))
    names = names_of(each.author for each in rows)
    versions = _versions(rows, vocabulary, names)
    shown = next((each for each in versions if each.version == version), None)
    if version is not None and shown is None:
        raise Http404("Not found")
    return PolicyPage(
        key=key,
        action_type=kind,
        shown=shown or versions[0],
        in_force=versions[0],
        versions=versions,
        fields=fields_of(kind.args_schema),
        vocabulary=vocabulary,
        reviewers=reviewers,
        may_change=may(user, "agents.change", kind.agent),
        may_see_args=user.has_perm("approvals.view", kind.agent.team_id),
    )


def past_proposals(user: User, kind: ActionType) -> list[tuple[int, str]]:  # 1 query
    """Offer the newest decided cases of an action type, to those who may see its cards."""
    # Open ones are left out: beside the drills among them, which must not be told apart, a list of real ones would tell.
    rows = visible(user).filter(action_type=kind, kind=Proposal.Kind.LIVE, closed_at__isnull=False).order_by("-pk")
    return list(rows.values_list("pk", "title")[:OFFERED])


def explain_proposal(user: User, page: PolicyPage, pk: int) -> Explanation:  # 1 query
    """Work a past case through the shown version, as it was proposed. Raises 404 for what the person may not see."""
    # Whatever its kind: an answer for real cases only would tell which card is a drill.
    row = visible(user).filter(action_type=page.action_type, pk=pk).first()
    if row is None:
        raise Http404("Not found")
    return explain(page, facts_of(row, row.args_original), of=row.title, proposal_id=row.pk)


def explain(page: PolicyPage, facts: Facts, *, of: str, proposal_id: int | None = None) -> Explanation:  # no query
    """Work one case through the shown version."""
    if page.shown.terms is None:
        return Explanation(of, proposal_id, policy.assess(None, facts), ())
    conditions = page.shown.terms.conditions
    found = conditions.assess(facts, approvals=page.shown.terms.approvals_needed)
    return Explanation(of, proposal_id, found, explained.read(conditions, facts, page.vocabulary))


def terms_of(row: ApprovalPolicy) -> Terms:
    """Read a stored version. Raises Unevaluable."""
    return Terms(
        conditions=Conditions.parse(row.conditions),
        approvals_needed=row.approvals_needed,
        window_s=row.window_s,
        on_expiry=row.on_expiry,
        undo_s=row.undo_s,
        approvers=policy.approver_ids(row.approvers),
        escalation=policy.escalation_tiers(row.escalation),
    )


def default_policy(kind: ActionType) -> ApprovalPolicy:
    """Return what the first proposal would be judged by where nobody has written a policy; it is not stored."""
    return ApprovalPolicy(
        key=default_key(kind.agent.slug, kind.key, kind.pk),
        version=0,
        name=kind.name,
        action_type=kind,
        escalation=list(policy.USUAL_TIERS),
        window_s=window.WINDOW_S,
        undo_s=window.UNDO_S[kind.reversibility],
    )


def _active(kinds: Sequence[ActionType]) -> QuerySet[ApprovalPolicy]:
    return ApprovalPolicy.objects.filter(action_type__in=kinds, active_from__lte=ClockTimestamp())


def _kind_of(user: User, key: str) -> ActionType:
    """Find whose policy a key names; one that nobody has written yet is known by the number at its end."""
    pk = ApprovalPolicy.objects.filter(key=key).values_list("action_type", flat=True).first()
    is_written, number = pk is not None, key.rpartition("-")[2]
    if not is_written and number.isascii() and number.isdigit() and len(number) <= 18:  # noqa: PLR2004  # what a bigint holds
        pk = int(number)
    rows = ActionType.objects.select_related("agent__team", "agent__owner")
    kind = object_or_404(rows, user, "agents.view", pk, team="agent__team")
    if not is_written and key != default_key(kind.agent.slug, kind.key, kind.pk):
        raise Http404("Not found")
    return kind


def _people(rows: Iterable[ApprovalPolicy], reviewers: Iterable[tuple[int, str]]) -> Mapping[int, str]:
    """Name everybody whom a version names, those who left the team too."""
    known = dict(reviewers)
    named: set[int] = set()
    for each in rows:
        try:
            named |= policy.approver_ids(each.approvers)
        except policy.Unevaluable:
            continue
    gone = named - set(known)
    return {**known, **names_of_people(gone)} if gone else known


def _versions(
    rows: Sequence[ApprovalPolicy], vocabulary: Vocabulary, names: Mapping[str, str]
) -> tuple[VersionView, ...]:
    """Put every version into words, the newest first."""
    views: list[VersionView] = []
    before: Terms | None = None
    for row in rows:
        view = _version(row, before, vocabulary, names)
        before = view.terms or before
        views.append(view)
    return tuple(reversed(views))


def _version(
    row: ApprovalPolicy, before: Terms | None, vocabulary: Vocabulary, names: Mapping[str, str]
) -> VersionView:
    try:
        found, problem = terms_of(row), ""
    except policy.Unevaluable as error:
        found, problem = None, str(error)
    return VersionView(
        version=row.version,
        since=row.active_from if row.version else None,
        author=_author(row, names),
        note=row.note,
        terms=found,
        problem=problem,
        sentences=tuple(_sentences(found, vocabulary)) if found else (),
        rules=tuple(explained.rule(each, vocabulary) for each in found.conditions.rules) if found else (),
        changes=terms.changes(before, found, vocabulary) if before and found else (),
    )


def _sentences(found: Terms, vocabulary: Vocabulary) -> list[str]:
    return [
        *explained.sentences(found.conditions, found.approvals_needed, vocabulary),
        explained.approvers(found.approvers, vocabulary),
        *explained.times(found.window_s, found.escalation, found.on_expiry, found.undo_s),
    ]


def _row(row: ApprovalPolicy, kind: ActionType, names: Mapping[str, str]) -> PolicyRow:
    try:
        summary, is_readable = explained.summary(Conditions.parse(row.conditions), row.approvals_needed), True
    except policy.Unevaluable as problem:
        summary, is_readable = f"It cannot be read ({problem}), so two people decide everything.", False
    return PolicyRow(
        key=row.key,
        agent_name=kind.agent.name,
        action_name=kind.name,
        risk=kind.get_risk_class_display(),
        version=row.version,
        since=row.active_from if row.version else None,
        author=_author(row, names),
        note=row.note,
        summary=summary,
        is_readable=is_readable,
        is_demo=kind.agent.is_demo,
    )


def _author(row: ApprovalPolicy, names: Mapping[str, str]) -> str:
    if not row.version:
        return "nobody yet"
    return names.get(row.author) or {"": "not recorded", "system": "the system"}.get(row.author, row.author)
