"""What must hold when the work is over: nothing lost, nothing done twice, nothing done that nobody decided."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.db.models import Count

from apps.approvals import checking
from apps.approvals.models import Decision, Proposal, ResumeOutbox
from apps.audit.models import AuditEvent
from apps.connectors.models import ActionExecution
from apps.runs.models import Run, WorkItem
from tests.flows.clinc import Case
from tests.flows.harness import Mishaps

SHOWN = 20


def broken(
    cases: Mapping[str, Case],
    *,
    journal: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
    mishaps: Mishaps,
) -> list[str]:
    """Return every broken rule in words, at most twenty of a kind. Empty: all is well."""
    found = [
        *_first(_lost(cases)),
        *_first(_openings(cases, journal)),
        *_first(_writes(cases, [row for row in journal if row["kind"] == "change"], mishaps)),
        *_first(_verdicts(cases, report)),
        *_first(f"check_approvals: proposal {each.proposal_id}: {each.what}" for each in checking.mismatches()),
        *_first(_untold(journal)),
    ]
    return found + [f"decider: {each}" for each in report["faults"][:SHOWN]]


def _lost(cases: Mapping[str, Case]) -> Iterator[str]:
    """Each case has one run, and each run came to an end; what ended by a technical failure was not done by the agent."""
    known = dict(WorkItem.objects.values_list("external_id", "state"))
    yield from (f"{each} was never imported" for each in cases if each not in known)
    yield from (f"{each} was imported out of nowhere" for each in known if each not in cases)
    runs = Counter(Run.objects.values_list("work_item__external_id", flat=True))
    yield from (f"{each} has {runs[each]} runs" for each in cases if runs[each] != 1)
    for run in Run.objects.exclude(state__in=["done", "handed_over"]).select_related("work_item"):
        proposal = Proposal.objects.filter(run_id_value=run.pk, kind="live").values_list("pk", "state").first()
        answers = list(
            ResumeOutbox.objects.filter(thread_id=run.thread_id).values_list("state", "attempts", "last_error")
        )
        yield (
            f"{run.work_item} is {run.state} after {run.attempts} starts; proposal {proposal}, answers {answers}, "
            f"error {run.last_error!r}"
        )
    for run in Run.objects.filter(reason="technical").select_related("work_item"):
        if not Proposal.objects.filter(run_id_value=run.pk, state="failed").exists():
            yield f"{run.work_item} was handed over by a technical failure: {run.reason_text} {run.last_error}"


def _openings(cases: Mapping[str, Case], journal: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Each case was opened once, in the importer's name, and the ledger knows it."""
    opened = defaultdict(list)
    for row in journal:
        if row["kind"] == "create":
            opened[row["id"]].append(row)
    of_openings = ActionExecution.objects.filter(thread_id__startswith="open:")
    done = Counter(of_openings.filter(state="done").values_list("thread_id", flat=True))
    for item in WorkItem.objects.order_by("pk"):
        rows = opened.pop(item.external_id, [])
        if len(rows) != 1 or done[item.opening_thread] != 1:
            yield f"{item}: opened {len(rows)} times, {done[item.opening_thread]} times in the ledger"
        elif (rows[0]["actor"], rows[0]["after"]["text"]) != ("system", cases[item.external_id].text):
            yield f"{item}: opened by {rows[0]['actor']} as {rows[0]['after']}"
    yield from (f"{case} was opened out of nowhere" for case in opened)
    yield from (f"{row} is not settled" for row in of_openings.filter(state__in=["started", "unknown"]))


def _writes(cases: Mapping[str, Case], journal: Sequence[Mapping[str, Any]], mishaps: Mishaps) -> Iterator[str]:
    """One write of what was decided for each approved or edited proposal, and none for anything else."""
    written = defaultdict(list)
    for row in journal:
        written[row["id"]].append(row)
    absent = set(mishaps.did_not_happen)
    # What was planted never runs.
    for proposal in Proposal.objects.filter(kind="live").order_by("pk").prefetch_related("decisions"):
        case = proposal.target.rpartition("/")[2]
        rows = written.pop(case, [])
        verdict = next((each.verdict for each in proposal.decisions.all() if each.final and not each.voided_at), None)
        is_wanted = verdict in {"approve", "edit"} and proposal.pk not in absent
        if len(rows) != int(is_wanted):
            yield f"{case}: {len(rows)} writes; verdict {verdict}, proposal {proposal.pk} {proposal.state}"
            continue
        if not rows:
            continue
        told = rows[0]
        if told["after"].get("queue") != cases[case].queue:
            yield f"{case}: written to {told['after'].get('queue')}, right is {cases[case].queue}"
        if told["key"] != f"{proposal.thread_id}:{proposal.tool_call_id}":
            yield f"{case}: written under the key {told['key']}, which is not that of proposal {proposal.pk}"
        if proposal.state != "succeeded":
            yield f"{case}: written, but proposal {proposal.pk} is {proposal.state}"
    yield from (f"{case}: {len(rows)} writes without any proposal" for case, rows in written.items())


def _verdicts(cases: Mapping[str, Case], report: Mapping[str, Any]) -> Iterator[str]:
    """The house remembers exactly the verdicts that it acknowledged."""
    stored = {
        str(pk): verdict
        for pk, verdict in Decision.objects.filter(final=True, voided_at=None).values_list("proposal_id", "verdict")
    }
    for pk in stored.keys() | report["decided"].keys():
        if stored.get(pk) != report["decided"].get(pk):
            yield f"proposal {pk}: stored {stored.get(pk)}, acknowledged {report['decided'].get(pk)}"
    twice = (
        Proposal.objects.filter(kind="live")
        .values("work_item_id_value")
        .annotate(count=Count("pk"))
        .filter(count__gt=1)
    )
    yield from (f"work item {each['work_item_id_value']} was asked about {each['count']} times" for each in twice)


def _untold(journal: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The log has one event for each thing that happened."""
    told = Counter(AuditEvent.objects.values_list("action", flat=True))
    states = Counter(Proposal.objects.values_list("state", flat=True))
    runs = Counter(Run.objects.values_list("state", flat=True))
    reconciled = told["proposal.reconciled"]
    for action, count in {
        "proposal.pending": Proposal.objects.count(),
        "proposal.decided": Decision.objects.filter(by_kind="person").count(),
        "proposal.executing": ActionExecution.objects.filter(proposal_id_value__isnull=False).count(),
        "work.opened": len({row["id"] for row in journal if row["kind"] == "create"}),
        "run.done": runs["done"],
        "run.handed_over": runs["handed_over"],
    }.items():
        if told[action] != count:
            yield f"{told[action]} events {action} for {count} such facts"
    outcomes = told["proposal.succeeded"] + told["proposal.failed"] + reconciled
    if outcomes != states["succeeded"] + states["failed"]:
        yield f"{outcomes} outcomes told, {states['succeeded'] + states['failed']} stored"
    yield from (f"no event {each}" for each in ("work.imported", "precedents.learned") if not told[each])


def _first(problems: Iterator[str]) -> list[str]:
    found = list(problems)
    return [*found[:SHOWN], f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else found
