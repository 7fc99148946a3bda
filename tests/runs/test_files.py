"""How files of work and of decided cases are read: whole, or refused with words."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.connectors.domain.targets import BadTarget, parse_target
from apps.runs.domain import files
from apps.runs.domain.files import Problem, Row, Unreadable


def read(text, **options):
    return files.read(text.encode(), **options)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("id,text\nT-1,Slow\n", {"id": "T-1", "text": "Slow"}),
        ("\ufeffID; Text\r\nT-1;Slow\r\n", {"id": "T-1", "text": "Slow"}),
        ("id\ttext\nT-1\tSlow, very\n", {"id": "T-1", "text": "Slow, very"}),
        ('id,text\nT-1,"two\nlines, ""quoted"""\n', {"id": "T-1", "text": 'two\nlines, "quoted"'}),
        ("id,text\nT-1,'=SUM(A1)\n", {"id": "T-1", "text": "=SUM(A1)"}),
        ('[{"id": "T-1", "text": "Slow"}]', {"id": "T-1", "text": "Slow"}),
        ('{"id": "T-1", "text": "Slow"}', {"id": "T-1", "text": "Slow"}),
        ('{"id": "T-1", "text": "a\u2028b"}\n\n{"id": "T-2", "text": "c"}', {"id": "T-1", "text": "a\u2028b"}),
    ],
)
def test_each_format_is_told_by_its_contents(text, values):
    assert read(text).rows[0].values == values


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The file is empty."),
        (b" \n ", "The file is empty."),
        (b"id,text\n", "no rows"),
        (b"[]", "no rows"),
        ("id,text\nT-1,caf\xe9".encode("latin-1"), "not a text in UTF-8"),
        ("id,text\nT-1,x".encode("utf-16"), "not a text in UTF-8"),
        (b"id,id\nT-1,x", "a name of its own"),
        (b",,\nT-1,x,y", "must name the columns"),
        (b'id,text\nT-1,"open', "quotation mark left open"),
        (b"id,text\nT-1,a\0b", "NUL"),
        (b"[1, 2", "The JSON is broken"),
        (b'[{"id": NaN}]', "NaN is not JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"train": [["a", "b"]], "test": []}', "several parts: train (1), test (0)"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(data, words):
    with pytest.raises(Unreadable, match=words.replace("(", r"\(").replace(")", r"\)")):
        files.read(data)


def test_a_part_that_is_not_there_is_named_beside_those_that_are():
    with pytest.raises(Unreadable, match=r"no part dev. It has: train \(1\)"):
        read('{"train": [["a", "b"]]}', parts=["dev"])


def test_more_rows_than_fit_are_refused():
    with pytest.raises(Unreadable, match="more than 100,000 rows"):
        read("id,text\n" + "T,x\n" * 100_001)


def test_rows_of_parts_get_ids_that_stay_the_same():
    sheet = read('{"a": [["one", "x"], ["two", "oos"]], "b": [["three", "y"]]}', parts=["a", "b"])

    assert [row.values["id"] for row in sheet.rows] == ["a-1", "a-2", "b-1"]
    assert [row.number for row in sheet.rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ({"text": "x"}, "id", "is missing"),
        ({"id": "  ", "text": "x"}, "id", "is missing"),
        ({"id": "T" * 121, "text": "x"}, "id", "121 characters"),
        ({"id": "../T-1", "text": "x"}, "id", "slashes"),
        ({"id": "T 1", "text": "x"}, "id", "spaces"),
        ({"id": "T\u202e1", "text": "x"}, "id", "u202e"),
        ({"id": "T%201", "text": "x"}, "id", "cannot name a record"),
        ({"id": "Fälle-1", "text": "x"}, "id", "cannot name a record"),
        ({"id": "..", "text": "x"}, "id", "not only dots"),
        ({"id": "T-1", "text": "x", "due": "tomorrow"}, "due", "“tomorrow” is no time"),
        ({"id": "T-1", "text": "x", "due": "2027-05-04T16:00"}, "due", "names no time zone"),
        ({"id": "T-1", "text": "x", "due": "2027-05-04"}, "due", "names no time zone"),
        ({"id": "T-1", "text": "x", "due": "0027-05-04T16:00Z"}, "due", "not in the years 2000 to 2199"),
        ({"id": "T-1", "text": "x", "due": 1809446400}, "due", "Write it as 2027-05-04T16:00+02:00"),
        ({"id": "T-1"}, "text", "is missing"),
        ({"id": "T-1", "text": "\n"}, "text", "is missing"),
        ({"id": "T-1", "text": 7}, "text", "must be a text"),
        ({"id": "T-1", "text": "x" * 20_001}, "text", "20,001 characters"),
        ({"id": "T-1", "text": "a\0b"}, "text", "NUL"),
        ({"id": "T-1", "text": "\ud800"}, "text", "half a character"),
        ({"id": "T-1", "text": "x", "note": float("inf")}, "note", "endless number"),
        ({"id": "T-1", "text": "x", "tags": ["a\0b"]}, "tags", "NUL"),
        ({"id": "T-1", "text": "x", "customer": ["C-1"]}, "customer", "not a list"),
        ({"id": "T-1", "text": "x", "note": "n" * 70_000}, "", "larger than 64 kB"),
    ],
)
def test_a_fault_of_a_row_names_its_column(row, column, words):
    rows, (problem,) = files.work([Row(2, row)])

    assert rows == []
    assert (problem.row, problem.column) == (2, column)
    assert words in problem.message


def test_a_text_about_escapes_is_no_fault():
    assert files.work([Row(2, {"id": "T-1", "text": "the log says \\u0000"})])[1] == []


def test_an_id_that_stands_twice_is_told_with_its_first_row():
    _, (problem,) = files.work([Row(2, {"id": "T-1", "text": "a"}), Row(3, {"id": "T-1", "text": "b"})])

    assert str(problem) == "row 3, id: “T-1” stands in row 2 already."


def test_a_row_with_too_many_cells_is_a_fault_of_the_row():
    (problem,) = read("id,text\nT-1,a,b\n").problems

    assert str(problem) == "row 2: has 3 cells, but the first row names 2 columns."


@pytest.mark.parametrize(
    ("label", "labels", "kept"),
    [
        ("printing", None, {"queue": "printing"}),
        ("oos", None, {"queue": None}),
        ("paper_jam", {"paper_jam": "printing"}, {"queue": "printing", "given": "paper_jam"}),
        ("oos", {"paper_jam": "printing"}, {"queue": None, "given": "oos"}),
        ({"queue": "printing", "priority": "low"}, None, {"queue": "printing", "priority": "low"}),
        (None, None, None),
    ],
)
def test_the_known_answer_is_kept_apart_from_what_the_agent_sees(label, labels, kept):
    (row,), _ = files.work([Row(1, {"id": "T-1", "text": "a", "label": label, "site": "Oslo"})], labels=labels)

    assert row.label == kept
    assert row.payload == {"text": "a", "site": "Oslo"}


@pytest.mark.parametrize(
    ("row", "part", "taught"),
    [
        ({"text": "a", "queue": "printing", "priority": "low", "reply": "Hi"}, "", ("printing", "low", "Hi")),
        ({"text": "a", "queue": None}, "", ("", "", "")),
        ({"text": "a", "label": "jam"}, "", ("printing", "", "")),
        ({"text": "a", "label": "oos"}, "", ("", "", "")),
        ({"text": "a", "label": "jam"}, "oos_train", ("", "", "")),
    ],
)
def test_a_decided_case_names_its_queue_or_its_label(row, part, taught):
    labels = {"jam": "printing"} if "label" in row else None

    (found,), problems = files.taught(
        [Row(1, row, part)], labels=labels, outside_parts=["oos_train"], queues=["printing"], priorities=["low"]
    )

    assert problems == []
    assert (found.queue, found.priority, found.reply) == taught


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a", "queue": "cellar"}, "“cellar” is no queue of this agent. It has: printing."),
        ({"text": "a"}, "Name a queue"),
        ({"text": "", "queue": "printing"}, "is missing"),
        ({"text": "a", "queue": "printing", "priority": "yesterday"}, "none of low"),
        ({"text": "a", "queue": "printing", "reply": "r" * 4_001}, "4,001 characters"),
    ],
)
def test_a_case_that_cannot_be_taught_says_why(row, words):
    rows, (problem,) = files.taught([Row(1, row)], queues=["printing"], priorities=["low"])

    assert rows == []
    assert words in problem.message


def test_a_label_that_no_queue_has_is_told():
    _, (problem,) = files.taught([Row(1, {"text": "a", "label": "jam"})], labels={"slow": "network"})

    assert "none of the label file's queues" in problem.message


@pytest.mark.parametrize("data", [b"[1]", b"{", b'{"a": "b"}', b'{"a": [1]}'])
def test_a_label_file_of_another_shape_is_refused(data):
    with pytest.raises(Unreadable, match="label file"):
        files.queues_by_label(data)


def test_a_file_comes_back_with_its_faults_beside_each_row():
    sheet = read("id,text\nT-1,-5 degrees\n,\n")
    _, problems = files.work(sheet.rows)

    back = list(csv.reader(io.StringIO(files.with_errors(sheet, problems), newline="")))

    # An empty line of a spreadsheet is no row.
    assert back == [["id", "text", "error"], ["T-1", "'-5 degrees", ""]]


def test_a_line_that_is_no_row_at_all_keeps_its_fault():
    sheet = read('{"id": "T-1", "text": "a"}\nnonsense\n')

    back = files.with_errors(sheet, sheet.problems)

    assert back.splitlines()[-1] == ",,row 2: is not JSON."


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\0"])
def test_no_cell_can_be_run_as_a_formula(start):
    assert files.guarded(f"{start}1+1") == f"'{start}1+1"


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40).filter(
    lambda cell: cell.strip() and not cell.startswith("'")
)


@given(st.lists(CELLS, min_size=1, max_size=8))
def test_a_corrected_file_comes_in_as_it_was(texts):
    sheet = files.Sheet(tuple(Row(n, {"id": f"T-{n}", "text": text}) for n, text in enumerate(texts)), ("id", "text"))

    again = read(files.with_errors(sheet, [Problem(0, "text", "was wrong")]))

    assert [row.values["text"] for row in again.rows] == texts


@given(st.lists(st.fixed_dictionaries({"id": st.text(min_size=1), "text": st.text()})), st.booleans())
def test_json_and_json_lines_read_the_same(records, is_lines):
    records = [{"id": "first", "text": "a"}, {"id": "second", "text": "b"}, *records]
    text = "\n".join(map(json.dumps, records)) if is_lines else json.dumps(records)

    assert [row.values for row in read(text).rows] == records


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_words(data):
    try:
        sheet = files.read(data)
    except Unreadable as refusal:
        assert str(refusal).endswith((".", "?"))  # noqa: PT017  # both ends are right; the point is that nothing else is raised
    else:
        files.with_errors(sheet, files.work(sheet.rows)[1])


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=10) | st.text("aZ09._~:-/ ?#%", max_size=10))
def test_an_id_is_taken_exactly_if_a_target_can_name_it(record_id):
    _, problems = files.work([Row(2, {"id": record_id, "text": "x"})])

    try:
        parse_target(f"desk:tickets/{record_id.strip()}")
    except BadTarget:
        assert {problem.column for problem in problems} == {"id"}
    else:
        assert problems == []


@pytest.mark.parametrize(
    ("due", "at"),
    [
        ("2027-05-04T16:00+02:00", datetime(2027, 5, 4, 14, tzinfo=UTC)),
        (" 2027-05-04 16:00:30Z ", datetime(2027, 5, 4, 16, 0, 30, tzinfo=UTC)),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_a_promise_to_the_customer_is_read_with_its_zone_and_kept_apart(due, at):
    (row,), problems = files.work([Row(2, {"id": "T-1", "text": "x", "due": due})])

    assert problems == []
    assert (row.due, row.payload) == (at, {"text": "x"})
