"""Burn rules: the vectors of the specification, then the same rules under hypothesis."""

from decimal import Decimal
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from apps.slo.domain.alerts import DAY, HOUR, BurnRule, Reach, Tier, default_rules, judge, reach, upper_tail
from apps.slo.domain.budget import Counts


def page(factor: str) -> BurnRule:
    return BurnRule(Tier.PAGE, HOUR, HOUR // 12, Fraction(factor))


def counts(text: str) -> Counts:
    bad, total = map(int, text.split("/"))
    return Counts(total - bad, total)


VECTORS = [
    ("0.99", "14.4", "1/3", "1/1", "0.029701", Tier.TICKET),
    ("0.99", "14.4", "2/3", "1/1", "0.000298", Tier.TICKET),
    ("0.99", "14.4", "3/20", "2/2", "0.00100358", Tier.TICKET),
    ("0.99", "14.4", "3/12", "1/2", "0.000205616", Tier.PAGE),
    ("0.999", "14.4", "9/625", "1/5", "2.2e-8", None),
    ("0.999", "14.4", "10/625", "1/5", "1.3e-9", Tier.PAGE),
    ("0.9", "14.4", "3/3", "3/3", "0.001", Tier.TICKET),
    ("0.9", "14.4", "4/4", "1/1", "0.0001", Tier.PAGE),
    ("0.9", "14.4", "30/60", "3/5", "5.6e-15", None),
    ("0.9", "14.4", "31/60", "3/5", "6.0e-16", Tier.PAGE),
    ("0.95", "14.4", "3/5", "2/3", "0.00115813", Tier.TICKET),
    ("0.95", "6", "5/16", "1/3", "0.000857312", Tier.PAGE),
]


@pytest.mark.parametrize(("target", "factor", "long", "short", "tail", "fires"), VECTORS)
def test_a_page_fires_exactly_where_the_specification_says(target, factor, long, short, tail, fires):
    found = judge(page(factor), target=Fraction(target), long=counts(long), short=counts(short))

    # One failure of three is fast enough for a ticket, but one alone is not worth it.
    assert found.fires == (None if counts(long).bad == 1 else fires)


@pytest.mark.parametrize(("target", "factor", "long", "short", "tail", "fires"), VECTORS)
def test_the_tail_is_the_one_of_the_specification(target, factor, long, short, tail, fires):
    found = upper_tail(counts(long).bad, counts(long).total, 1 - Fraction(target))

    last_digit = Decimal(1).scaleb(Decimal(tail).as_tuple().exponent)
    assert abs(found - Decimal(tail)) <= last_digit / 2


def test_three_of_three_at_ninety_percent_is_exactly_one_in_a_thousand():
    assert upper_tail(3, 3, Fraction(1, 10)) == Decimal("0.001")


@pytest.mark.parametrize(
    ("days", "factors"),
    [
        (30, ("14.4", "6", "3", "1")),
        (28, ("13.44", "5.6", "2.8", "14/15")),
        (7, ("13.44", "3.5", "1.4", "0.98")),
        (90, ("14.4", "6", "3", "1")),
    ],
)
def test_the_rules_of_a_period_spend_the_shares_of_the_workbook(days, factors):
    rules = default_rules(days * DAY)

    assert [rule.factor for rule in rules] == [Fraction(each) for each in factors]
    assert [(rule.tier, rule.long_s, rule.short_s) for rule in rules] == [
        ("page", 3_600, 300),
        ("page", 21_600, 1_800),
        ("ticket", 86_400, 7_200),
        ("ticket", 259_200, 21_600),
    ]


@pytest.mark.parametrize(
    ("target", "factor", "expected"),
    [
        ("0.93", "14.4", Reach.DEAD),
        ("0.9306", "14.4", Reach.CAPPED),
        ("0.9652", "14.4", Reach.CAPPED),
        ("0.9653", "14.4", Reach.FREE),
        ("0.8333", "6", Reach.DEAD),
        ("0.8334", "6", Reach.CAPPED),
        ("0.9166", "6", Reach.CAPPED),
        ("0.9167", "6", Reach.FREE),
    ],
)
def test_a_rule_says_whether_its_target_lets_it_fire(target, factor, expected):
    assert reach(page(factor), target=Fraction(target)) is expected


@pytest.mark.parametrize(("bad", "fires"), [(1, None), (2, Tier.TICKET), (3, Tier.TICKET)])
def test_a_ticket_rule_needs_two_failures_and_never_pages(bad, fires):
    rule = BurnRule(Tier.TICKET, DAY, 2 * HOUR, Fraction(3))

    assert judge(rule, target=Fraction("0.9"), long=Counts(0, bad), short=Counts(0, 1)).fires == fires


@pytest.mark.parametrize(("long", "short"), [("0/0", "3/3"), ("9/9", "0/0"), ("9/9", "0/5")])
def test_no_data_or_a_quiet_short_window_fires_nothing(long, short):
    assert judge(page("14.4"), target=Fraction("0.99"), long=counts(long), short=counts(short)).fires is None


@pytest.mark.parametrize(("short_s", "factor"), [(HOUR, "1"), (0, "1"), (300, "0"), (300, "-1")])
def test_a_rule_that_cannot_be_is_refused(short_s, factor):
    with pytest.raises(ValueError, match="burn rule"):
        BurnRule(Tier.PAGE, HOUR, short_s, Fraction(factor))


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(1, 999))
def test_the_tail_equals_the_sum_of_all_its_terms(pair, permille):
    (bad, total), p = pair, Fraction(permille, 1000)

    exact = sum(comb(total, i) * p**i * (1 - p) ** (total - i) for i in range(bad, total + 1))

    found = upper_tail(bad, total, p)
    assert abs(Fraction(found) - exact) <= exact * Fraction(1, 10**40) + Fraction(1, 10**45)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 20), st.integers(0, 20), st.integers(1, 99))
def test_a_page_is_always_fast_often_and_surprising(good, bad, short_good, short_bad, percent):
    target, long, short = Fraction(percent, 100), Counts(good, good + bad), Counts(short_good, short_good + short_bad)

    found = judge(page("14.4"), target=target, long=long, short=short)

    is_fast = all(each.total and Fraction(each.bad, each.total) > found.threshold for each in (long, short))
    if found.fires is Tier.PAGE:
        assert is_fast
        assert long.bad >= 3
        assert binom.sf(long.bad - 1, long.total, float(1 - target)) < 0.001 * (1 + 1e-9)
    if found.fires is None:
        assert not is_fast or long.bad < 2


def test_a_million_events_are_judged_in_the_same_way():
    long = Counts(1_000_000 - 20_000, 1_000_000)

    assert judge(page("14.4"), target=Fraction("0.999"), long=long, short=Counts(0, 5)).fires is Tier.PAGE
