"""The measured run itself, from an empty database to the table."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.core.management import call_command

from config.stack.terminal import say, step
from tests.bench import figures
from tests.bench.idle import Idle
from tests.flows import checks, clinc
from tests.flows.clinc import ROOT, Case
from tests.flows.harness import Flow, Progress

IN_SCOPE_SHARE: Final = 4_500 / 5_500
UNDISTURBED: Final = 1_000
"""Queries that run first, without kills and without anybody deciding: the pace to the proposal."""
KILL_EVERY: Final = 20.0
BARE_RUNS: Final = 300
"""For each of the two processes of the baseline."""
TELL_EVERY: Final = 15.0
PACE_GOAL: Final = 25
MEMORY_GOAL: Final = 900
FIRST_START_GOAL: Final = 90
SECOND_START_GOAL: Final = 6


def measure(folder: Path, *, queries: int, house: Idle, deadline: float) -> int:
    """Run everything, print the table, and return the exit code."""
    cases = _chosen(queries)
    first = cases[: min(UNDISTURBED, queries // 4)]
    with step("Make the database"):
        call_command("migrate", verbosity=0)
        call_command("migrate_checkpoints", verbosity=0, stdout=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with step("Run LangGraph alone in two processes") as told:
        bare = _bare()
        told.append(f"{bare:.1f} runs/s")
    flow = Flow(folder, broker_url=os.environ["CELERY_BROKER_URL"])
    with flow.standing():
        with step("Teach the agent") as told:
            flow.make_house()
            told.append(flow.teach())
        with step("Start web, two workers and beat"):
            flow.start()
        with step(f"Run {len(first):,} queries to their proposal, undisturbed") as told:
            flow.give(first)
            flow.watch(lambda _: None, until=lambda now: now.asked == now.cases, deadline=deadline)
            pace = figures.pace()
            question = figures.start_to_question()
            told.append(f"{pace:.1f} runs/s")
        with step("Decide them, undisturbed") as told:
            flow.start_deciding()
            flow.watch(lambda _: None, until=Progress.is_settled.fget, deadline=deadline)  # type: ignore[attr-defined]
            calm = Calm(
                decided=figures.spread(flow.stop_deciding()["took"]),
                executed=figures.decision_to_execution(),
                resumed=figures.resume_to_end(),
                checkpoints=figures.checkpoints_per_run(),
            )
            told.append(str(calm.executed))
        say(f"  Run all {queries:,}, decide them, and kill a worker every {KILL_EVERY:.0f} s")
        flow.give(cases)
        flow.start_deciding()
        began = time.monotonic()
        settled = flow.watch(_torture(flow, began), until=Progress.is_settled.fget, deadline=deadline)  # type: ignore[arg-type, attr-defined]
        took = time.monotonic() - began
        report = flow.stop_deciding()
        broken = checks.broken(flow.cases, journal=flow.desk.journal(), report=report, mishaps=flow.mishaps)
        if not settled:
            broken.insert(0, f"not settled in time: {flow.progress()}")
        _tell(
            Result(flow, queries, house, bare, pace, question, calm, took, report),
        )
    return _verdict(broken)


@dataclass(frozen=True, slots=True)
class Calm:
    """What verdicts take while nothing is killed, and what a run leaves behind until it is pruned."""

    decided: figures.Spread
    executed: figures.Spread
    resumed: figures.Spread
    checkpoints: str


@dataclass(frozen=True, slots=True)
class Result:
    flow: Flow
    queries: int
    house: Idle
    bare: float
    pace: float
    question: figures.Spread
    calm: Calm
    took: float
    report: Mapping[str, Any]


def _chosen(queries: int) -> list[Case]:
    inside = round(queries * IN_SCOPE_SHARE)
    return clinc.shuffled(clinc.cases(in_scope=inside, out_of_scope=queries - inside))


def _bare() -> float:
    """Start two processes, let both warm up, then let both go at once; return their runs per second together."""
    both = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.bench.bare", str(BARE_RUNS)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for each in both:
            if _line(each) != "ready":
                raise RuntimeError("The baseline did not start.")
        for each in both:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        slowest = max(float(_line(each)) for each in both)
    finally:
        for each in both:
            each.kill()
            each.communicate()
    return 2 * BARE_RUNS / slowest


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _torture(flow: Flow, began: float) -> Callable[[Progress], None]:
    told = began

    def step(now: Progress) -> None:
        nonlocal told
        passed = time.monotonic() - began
        # Whoever has nothing to do any more is left in peace, so that the last leases can run out.
        is_busy = now.asked < now.cases or now.decided < now.asked * 0.5
        if is_busy and passed >= KILL_EVERY * (flow.mishaps.kills + 1):
            flow.kill_worker()
        if not flow.mishaps.lost_messages and now.share_ended >= 0.4:
            flow.empty_broker()
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            say(f"    {passed:4.0f} s  {now.asked:,} asked or handed over, {now.ended:,} of {now.cases:,} ended")

    return step


def _tell(result: Result) -> None:
    flow, house, report = result.flow, result.house, result.report
    found = figures.routing(flow.cases)
    decided = figures.spread(report["took"])
    mishaps = flow.mishaps
    rows: Sequence[tuple[str, str, str]] = [
        ("Runs to the proposal, undisturbed", f"{result.pace:.1f} /s", f"at least {PACE_GOAL}"),
        ("  LangGraph alone, same turns", f"{result.bare:.1f} /s", ""),
        ("  share of LangGraph alone", f"{result.pace / result.bare:.0%}", ""),
        ("  start to question, p50 / p95", str(result.question), "40 / 100 ms; LangGraph alone 28.5 / 51.7"),
        ("  decide over HTTP, p50 / p95", str(result.calm.decided), "50 ms at p95"),
        ("  decided to executed, p50 / p95", str(result.calm.executed), "1,500 ms at p95"),
        ("  resume to end, p50 / p95", str(result.calm.resumed), "30 / 90 ms; LangGraph alone 18.0 / 43.3"),
        ("  checkpoints of a run", result.calm.checkpoints, "no more than LangGraph's 46 rows, 42 kB"),
        ("All queries, decided and executed, with kills", f"{result.queries / result.took:.1f} /s", ""),
        ("  decide over HTTP, p50 / p95", str(decided), ""),
        ("  decided to executed, p50 / p95", str(figures.decision_to_execution()), ""),
        ("Handed over, in scope", _share(found.handed_over_in_scope, found.in_scope), ""),
        ("Handed over, out of scope", _share(found.handed_over_out_of_scope, found.out_of_scope), ""),
        ("Proposed in scope and right", _share(found.agreed, found.proposed_in_scope), ""),
        ("Proposed and right, of all proposals", _share(found.agreed, found.proposed), ""),
        ("Workers killed", str(mishaps.kills), ""),
        ("  runs started again", str(figures.restarts()), ""),
        ("  messages lost with the broker", ", ".join(map(str, mishaps.lost_messages)) or "none", ""),
        ("  unknown outcomes reconciled", f"{mishaps.reconciled} ({len(mishaps.happened)} had happened)", ""),
        ("Verdicts sent twice", ", ".join(f"{count} {told}" for told, count in report["twice"].items()) or "none", ""),
        ("First start with demo, installed", f"{house.first_start:.1f} s", f"at most {FIRST_START_GOAL}"),
        ("Second start", f"{house.second_start:.1f} s", f"at most {SECOND_START_GOAL}"),
        ("Idle memory of all processes (PSS)", f"{house.total:.0f} MB", f"at most {MEMORY_GOAL}"),
        *((f"  {name}", f"{size:.0f} MB", "") for name, size in sorted(house.memory.items())),
    ]
    say()
    for name, value, goal in rows:
        say(f"{name:<48}{value:>28}   {goal}".rstrip())
    say()


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%} ({part:,} of {whole:,})" if whole else "none"


def _verdict(broken: Sequence[str]) -> int:
    if not broken:
        say("Nothing lost, nothing done twice, everything told.")
        return 0
    say(f"BROKEN, {len(broken)} rules:")
    for each in broken:
        say(f"  {each}")
    return 1
