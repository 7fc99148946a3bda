import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.runs.domain.nearest import Case, NearestIndex, Verdict, pieces_of, score_of, words_of

CASES = [
    Case(1, "My session freezes after login", "session-hosts", "high", "Hello {name}, we look at your session."),
    Case(2, "Session host shows a black screen", "session-hosts", "high"),
    Case(3, "Printer is not redirected into my desktop", "printing", "normal"),
    Case(4, "I cannot print labels from the desktop", "printing", "low"),
    Case(5, "What is for lunch in the canteen today?", "", ""),
    Case(6, "The canteen lunch menu please", "", ""),
]


def test_it_finds_the_nearest_case_and_its_queue():
    answer = NearestIndex(CASES).answer("session freezes")

    assert (answer.verdict, answer.queue, answer.priority) == (Verdict.NEAR, "session-hosts", "high")
    assert answer.nearest.case.id == 1
    assert 0 < answer.score < 1


def test_the_same_words_are_wholly_alike():
    answer = NearestIndex(CASES).answer("MY SESSION freezes, after login!")

    assert answer.nearest.similarity == pytest.approx(1, abs=1e-3)


def test_pieces_of_words_bridge_a_slip_and_an_ending():
    assert NearestIndex(CASES).answer("printing lables fails").queue == "printing"


def test_cases_without_a_queue_vote_for_handing_over():
    answer = NearestIndex(CASES).answer("canteen menu for lunch")

    assert (answer.verdict, answer.queue) == (Verdict.OUT_OF_SCOPE, "")
    assert answer.nearest.case.id == 6


@pytest.mark.parametrize("text", ["", "   ", "???", "🙂🙂", "zzzzqqqq xyzzy"])
def test_where_nothing_is_near_it_is_not_sure(text):
    answer = NearestIndex(CASES).answer(text)

    assert (answer.verdict, answer.score, answer.neighbours) == (Verdict.NOT_SURE, 0.0, ())


def test_an_index_without_cases_is_never_sure():
    assert NearestIndex().answer("session freezes").verdict is Verdict.NOT_SURE


def test_unknown_words_make_an_answer_less_sure():
    index = NearestIndex(CASES)

    assert index.answer("session freezes").score > index.answer("session freezes quokka zeppelin marzipan").score


def test_a_case_added_later_is_found_at_once():
    index = NearestIndex(CASES)

    index.add(Case(7, "Quarterly licence invoice is wrong", "licences", "low"))

    assert index.answer("licence invoice wrong").queue == "licences"
    assert len(index) == 7


def test_an_empty_index_can_be_taught_case_by_case():
    index = NearestIndex()

    for case in CASES:
        index.add(case)

    assert index.answer("session freezes").queue == "session-hosts"


def test_word_weights_are_renewed_after_many_additions():
    added, fitted = (
        NearestIndex(CASES),
        NearestIndex(CASES + [Case(10 + n, f"vpn tunnel {n}", "network") for n in range(65)]),
    )

    for n in range(65):
        added.add(Case(10 + n, f"vpn tunnel {n}", "network"))

    assert added.answer("vpn tunnel is slow") == fitted.answer("vpn tunnel is slow")


def test_a_tie_goes_to_the_first_queue_of_the_alphabet():
    index = NearestIndex([Case(1, "reset it", "zebra", "low"), Case(2, "reset it", "ant", "low")])

    answer = index.answer("reset it")

    assert (answer.queue, answer.share) == ("ant", 0.5)


TEXTS = st.lists(
    st.sampled_from(
        [
            "session",
            "vpn",
            "printer",
            "slow",
            "login",
            "black",
            "screen",
            "licence",
            "café",
            "Ünïcode",
            "日本語",
            "0x80070005",
        ]
    ),
    max_size=6,
)
LABELLED = st.lists(
    st.builds(
        lambda words, queue, priority: Case(0, " ".join(words), queue, priority),
        TEXTS,
        st.sampled_from(["network", "access", "printing", ""]),
        st.sampled_from(["low", "high"]),
    ),
    max_size=25,
)


@given(st.data(), LABELLED, TEXTS)
@settings(deadline=None, max_examples=150)
def test_the_order_of_the_cases_changes_nothing(data, cases, words):
    shuffled = data.draw(st.permutations(cases))

    first, second = (NearestIndex(each).answer(" ".join(words)) for each in (cases, shuffled))

    assert (first.verdict, first.queue, first.priority) == (second.verdict, second.queue, second.priority)
    assert first.score == pytest.approx(second.score, abs=2e-3)
    assert [each.case for each in first.neighbours] == [each.case for each in second.neighbours]


@given(LABELLED, TEXTS)
@settings(deadline=None)
def test_an_answer_always_keeps_its_promises(cases, words):
    answer = NearestIndex(cases).answer(" ".join(words))

    assert 0 <= answer.score <= 1
    assert 0 <= answer.share <= 1
    assert len(answer.neighbours) <= 10
    assert [each.similarity for each in answer.neighbours] == sorted(
        (each.similarity for each in answer.neighbours), reverse=True
    )
    assert (answer.queue != "") == (answer.verdict is Verdict.NEAR)
    assert answer.verdict is not Verdict.NEAR or answer.queue in {each.case.queue for each in answer.neighbours}


@given(LABELLED.filter(bool))
@settings(deadline=None)
def test_duplicates_keep_the_verdict_of_a_text_that_is_known(cases):
    text = "session vpn printer"
    copies = [Case(n, text, "access", "high") for n in range(30)]

    answer = NearestIndex([*cases, *copies]).answer(text)

    assert answer.nearest.similarity == pytest.approx(1, abs=1e-3)
    assert answer.queue == "access"


@given(st.text(max_size=200))
@settings(deadline=None)
def test_any_text_is_answered(text):
    NearestIndex([*CASES, Case(9, text, "access")]).answer(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Can't LOG in!", ["can't", "log", "in"]),
        ("ﬁle_share", ["file", "share"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("0x80070005", ["0x80070005"]),
        ("", []),
    ],
)
def test_words_are_what_a_reader_would_call_words(text, words):
    assert words_of(text) == words


def test_pieces_mark_the_ends_of_a_word():
    assert list(pieces_of("print")) == ["print", "#^pri", "#prin", "#rint", "#int$"]
    assert list(pieces_of("a")) == ["a"]


@pytest.mark.parametrize(("strength", "score"), [(0.0, 0.15), (0.14, 0.5), (1.0, 1.0)])
def test_the_score_grows_with_the_strength_of_the_vote(strength, score):
    assert score_of(strength) == score


@pytest.fixture(scope="module")
def queries():
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "clinc150"
    if not folder.exists():
        pytest.skip("the CLINC-150 queries are not on this machine")
    domains = json.loads((folder / "domains.json").read_text())
    return json.loads((folder / "data_oos_plus.json").read_text()), {
        intent: name for name, intents in domains.items() for intent in intents
    }


def test_on_real_queries_it_agrees_when_sure_and_asks_when_not(queries):
    parts, domain_of = queries
    index = NearestIndex(Case(n, text, domain_of[label]) for n, (text, label) in enumerate(parts["train"]))

    inside = [(index.answer(text), domain_of[label]) for text, label in parts["test"]]
    outside = [index.answer(text) for text, _ in parts["oos_test"]]

    sure = [(answer.queue, queue) for answer, queue in inside if answer.score >= 0.75]
    assert sum(queue == right for queue, right in sure) / len(sure) >= 0.95
    assert 1 - len(sure) / len(inside) <= 0.15
    assert sum(answer.score < 0.75 for answer in outside) / len(outside) >= 0.8


def test_fifteen_thousand_cases_are_fitted_and_asked_quickly(queries):
    parts, domain_of = queries

    start = time.perf_counter()
    index = NearestIndex(Case(n, text, domain_of[label]) for n, (text, label) in enumerate(parts["train"]))
    fitted = time.perf_counter()
    for text, _ in parts["val"][:500]:
        index.answer(text)
    asked = time.perf_counter()

    assert fitted - start < 3
    assert (asked - fitted) / 500 < 0.002
