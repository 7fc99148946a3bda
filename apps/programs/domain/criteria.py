"""Whether a number reaches its bar, given how much was seen. Exact one-sided 95 % Clopper-Pearson bounds (1934)."""

from dataclasses import dataclass

from scipy.special import betaincinv

from apps.programs.domain.states import Verdict

CONFIDENCE = 0.95


def upper_bound(failures: int, cases: int) -> float:
    """Return U: the failure rate exceeds it with a chance of at most 5 %. 1 without cases or without a success."""
    if cases in (0, failures):
        return 1.0
    return float(betaincinv(failures + 1, cases - failures, CONFIDENCE))


def lower_bound(failures: int, cases: int) -> float:
    """Return L: the failure rate lies below it with a chance of at most 5 %. 0 without a failure."""
    return float(betaincinv(failures, cases - failures + 1, 1 - CONFIDENCE)) if failures else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One evaluation of a criterion: what was seen, the bound or value, the verdict and the sentence that explains it."""

    verdict: Verdict
    text: str
    cases: int = 0
    failures: int = 0
    value: float | None = None
    bound: float | None = None


def failure_rate_reading(failures: int, cases: int, *, bar: float, fewest: int) -> Reading:
    """Judge "failure rate ≤ bar" from independent cases: unknown below `fewest`, pass if U ≤ bar, fail if L > bar."""
    upper, lower = upper_bound(failures, cases), lower_bound(failures, cases)
    if cases < fewest:
        verdict, text = Verdict.UNKNOWN, f"{cases} of {fewest} cases so far; {failures} failed."
    elif upper <= bar:
        verdict, text = (
            Verdict.PASS,
            f"{failures} of {cases} failed; at most {upper:.2%} with 95 % confidence, the bar is {bar:.2%}.",
        )
    elif lower > bar:
        verdict, text = (
            Verdict.FAIL,
            f"{failures} of {cases} failed; at least {lower:.2%} with 95 % confidence, the bar is {bar:.2%}.",
        )
    else:
        needed = smallest_sample(failures, cases, bar=bar)
        verdict = Verdict.UNKNOWN
        text = f"{failures} of {cases} failed: needs {needed - cases} more with no further failure to show {bar:.2%}."
    return Reading(verdict, text, cases, failures, failures / cases if cases else None, upper)


def smallest_sample(failures: int, cases: int, *, bar: float) -> int:
    """Return the smallest N ≥ cases with U(failures, N) ≤ bar, for 0 < bar < 1."""
    low, high = max(cases, failures + 1), max(cases, failures + 1)
    while upper_bound(failures, high) > bar:
        low, high = high, high * 2
    while low < high:
        middle = (low + high) // 2
        if upper_bound(failures, middle) <= bar:
            high = middle
        else:
            low = middle + 1
    return high


def plain_reading(value: float | None, operator: str, bar: float, *, what: str) -> Reading:
    """Compare a count, an age or a quantile directly; without a value the verdict is unknown."""
    if value is None:
        return Reading(Verdict.UNKNOWN, f"No record of {what} yet.")
    holds = {">=": value >= bar, "<=": value <= bar, "==": value == bar, ">": value > bar, "<": value < bar}[operator]
    verdict = Verdict.PASS if holds else Verdict.FAIL
    return Reading(verdict, f"{what} is {value:g}, the bar is {operator} {bar:g}.", value=value)
