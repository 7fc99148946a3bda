import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.demo.desk.faults import Faults, parse
from apps.demo.desk.fields import COLLECTIONS, complete, problems_with_changes, problems_with_record

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(COLLECTIONS)), anything)
def test_any_json_is_judged_without_a_failure(collection, value):
    for problem in problems_with_changes(collection, value) + problems_with_record(collection, value):
        assert problem.pointer == "" or problem.pointer.startswith("/")
        assert problem.message.endswith(".")


@given(st.fixed_dictionaries({"id": st.just("T-1"), "text": st.text(max_size=50)}))
def test_a_good_record_is_completed_with_every_field(record):
    if not problems_with_record("tickets", record):
        assert list(complete("tickets", record)) == list(COLLECTIONS["tickets"])


@pytest.mark.parametrize("record_id", ["", ".", "..", "a/b", "a b", "ä", "x" * 121, 7, None])
def test_an_id_that_is_no_path_segment_is_refused(record_id):
    assert [problem.pointer for problem in problems_with_record("tickets", {"id": record_id, "text": "x"})] == ["/id"]


def test_faults_are_off_unless_named():
    assert parse("") == Faults()
    assert parse("drop_after_write:0.1, latency:0.05") == Faults(latency=0.05, drop_after_write=0.1)
    assert not Faults().strikes(0)
    assert Faults().strikes(1)
