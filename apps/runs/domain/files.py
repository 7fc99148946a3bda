"""Files of work and of decided cases: CSV, JSON and JSON lines, read whole or refused, with every fault told by row and column."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from apps.connectors.domain.targets import is_record_id
from apps.runs.domain.limits import MAX_REPLY

MAX_ROWS = 100_000
"""Rows of one file; more belong into several files, so that one transaction stays short."""
MAX_PAGE_BYTES = 5 * 1024 * 1024
"""Bytes of a file that the page takes; the command takes any."""
MAX_TEXT = 20_000
"""Characters of a case's text."""
MAX_ID = 120
"""Characters of a case's id and of its customer's."""
MAX_ROW = 64 * 1024
"""Characters of a whole row as JSON."""
DUE_YEARS = range(2000, 2200)
"""A promise to a customer outside of these years is a slip of the pen."""
OUTSIDE = frozenset({"", "oos", "out_of_scope"})
"""Labels that say: no queue, a person takes this."""

Value = str | int | float | bool | list[Any] | dict[str, Any] | None


class Unreadable(ValueError):
    """The file as a whole cannot be used. The message says what it is and what to do; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row and its number as people count it: a spreadsheet's row, a line, or the position in a list."""

    number: int
    values: Mapping[str, Value]
    part: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: where, and what is wrong. An empty column means the whole row."""

    row: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: {self.message}" if self.column else f"row {self.row}: {self.message}"


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file as it was read."""

    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    sha256: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkRow:
    """A case to store: what the agent may see, and the known answer that it may not."""

    external_id: str
    payload: dict[str, Value]
    label: dict[str, Value] | None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaughtRow:
    """A decided case to learn from. No queue: outside the agent's scope."""

    text: str
    queue: str
    priority: str
    reply: str


def read(data: bytes, *, parts: Sequence[str] = ()) -> Sheet:
    """
    Read a file by its contents. `parts` chooses from a file of named parts, {"part": [[text, label], …]}.

    Faults of single rows come back as problems. Raises Unreadable where no row can be told: empty, not UTF-8, broken, too long.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"This is not a text in UTF-8 (byte {error.start + 1:,} does not fit). Save it as “CSV UTF-8” or as JSON, and try again."
        ) from error
    start = text.lstrip()[:1]
    if not start:
        raise Unreadable("The file is empty.")
    if start in "[{":
        sheet = _from_json(text, parts)
    elif parts:
        raise Unreadable("Only JSON files have parts; this looks like CSV.")
    else:
        sheet = _from_csv(text)
    if not sheet.rows and not sheet.problems:
        raise Unreadable("The file has no rows.")
    return Sheet(sheet.rows, sheet.columns, sheet.problems, sha256, sheet.parts)


def work(rows: Iterable[Row], *, labels: Mapping[str, str] | None = None) -> tuple[list[WorkRow], list[Problem]]:
    """
    Check rows of work: `id` and `text` must be there, every id once. Other columns are kept; `label` and `due` are kept apart.

    `due` is when a promise to the customer breaks. `labels` says which queue a label means; a label that it does not name is outside every queue.
    """
    found: list[WorkRow] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for row in rows:
        faults = list(_faults_of_work(row, seen))
        problems += faults
        if not faults:
            external_id = _text(row.values["id"]).strip()
            seen[external_id] = row.number
            payload: dict[str, Value] = {
                key: value
                for key, value in row.values.items()
                if key not in {"id", "label", "due"} and value not in ("", None)
            }
            found.append(WorkRow(external_id, payload, _label(row, labels), _due(row)))
    return found, problems


def taught(
    rows: Iterable[Row],
    *,
    labels: Mapping[str, str] | None = None,
    outside_parts: Collection[str] = (),
    queues: Collection[str] | None = None,
    priorities: Collection[str] = (),
) -> tuple[list[TaughtRow], list[Problem]]:
    """
    Check rows of decided cases: `text`, and `queue` or `label`; `priority` and `reply` may be there.

    Without `queues` any queue is taken. Empty, `oos` and everything in `outside_parts` is outside the agent's scope.
    """
    found: list[TaughtRow] = []
    problems: list[Problem] = []
    for row in rows:
        faults = [*_faults_of_text(row), *_faults_of_values(row)]
        column = "queue" if "queue" in row.values else "label"
        if column not in row.values:
            faults.append(
                Problem(
                    row.number,
                    "queue",
                    "is missing. Name a queue, or leave the cell empty for cases that a person takes.",
                )
            )
        queue = "" if row.part in outside_parts else _text(row.values.get(column)).strip()
        if queue in OUTSIDE:
            queue = ""
        elif labels is not None:
            if queue not in labels:
                faults.append(Problem(row.number, column, f"“{_short(queue)}” is in none of the label file's queues."))
            queue = labels.get(queue, queue)
        if queue and queues is not None and queue not in queues:
            faults.append(
                Problem(row.number, column, f"“{_short(queue)}” is no queue of this agent. It has: {_listed(queues)}.")
            )
        priority, reply = (_text(row.values.get(key)).strip() for key in ("priority", "reply"))
        if priority and priorities and priority not in priorities:
            faults.append(Problem(row.number, "priority", f"“{_short(priority)}” is none of {_listed(priorities)}."))
        if len(reply) > MAX_REPLY:
            faults.append(Problem(row.number, "reply", f"has {len(reply):,} characters; {MAX_REPLY:,} are allowed."))
        problems += faults
        if not faults:
            found.append(
                TaughtRow(_text(row.values["text"]).strip(), queue, priority if queue else "", reply if queue else "")
            )
    return found, problems


def queues_by_label(data: bytes) -> dict[str, str]:
    """Read a label file, {"queue": ["label", …]}, into label → queue. Raises Unreadable for any other shape."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise Unreadable(f"The label file is not JSON: {error}.") from error
    if not isinstance(found, dict) or not all(
        isinstance(labels, list) and all(isinstance(label, str) for label in labels) for labels in found.values()
    ):
        raise Unreadable('The label file must look like {"queue": ["label", …], …}.')
    return {label: str(queue) for queue, labels in found.items() for label in labels}


def with_errors(sheet: Sheet, problems: Iterable[Problem]) -> str:
    """Give a file back as CSV with a last column `error`, safe to open in a spreadsheet (RFC 4180, rule S12)."""
    by_row: dict[int, list[str]] = {}
    for problem in problems:
        by_row.setdefault(problem.row, []).append(
            f"{problem.column}: {problem.message}" if problem.column else problem.message
        )
    columns = [column for column in sheet.columns if column != "error"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*map(guarded, columns), "error"])
    told = set()
    for row in sheet.rows:
        told.add(row.number)
        cells = [guarded(_text(row.values.get(column))) for column in columns]
        writer.writerow([*cells, guarded(" ".join(by_row.get(row.number, ())))])
    # Rows that could not be read at all have no cells, but their fault must not get lost.
    for number in sorted(by_row.keys() - told):
        writer.writerow([*([""] * len(columns)), f"row {number}: {' '.join(by_row[number])}"])
    return out.getvalue()


def guarded(cell: str) -> str:
    """Keep a spreadsheet from running a text as a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")


def _from_csv(text: str) -> Sheet:
    if "\0" in text:
        raise Unreadable("The file holds NUL characters, so it is no CSV text. Save it as “CSV UTF-8”, and try again.")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    rows: list[Row] = []
    problems: list[Problem] = []
    number = 0
    try:
        header = [cell.strip().casefold() for cell in next(lines)]
        if not any(header):
            raise Unreadable("The first row must name the columns, for example id, text, customer.")
        if len(set(header)) < len(header) or "" in header:
            raise Unreadable("The first row must give every column a name of its own.")
        for number, cells in enumerate(lines, start=2):
            if not any(cell.strip() for cell in cells):
                continue
            _ensure_room(rows)
            values = {name: _unguarded(cell) for name, cell in zip(header, cells, strict=False)}
            rows.append(Row(number, values))
            if len(cells) != len(header):
                problems.append(
                    Problem(number, "", f"has {len(cells)} cells, but the first row names {len(header)} columns.")
                )
    except csv.Error as error:
        raise Unreadable(
            f"The CSV breaks off after row {number or 1}: {error}. Is a quotation mark left open?"
        ) from error
    return Sheet(tuple(rows), tuple(header), tuple(problems))


def _delimiter(text: str) -> str:
    header = text.lstrip().partition("\n")[0]
    return max(",;\t", key=header.count)


def _unguarded(cell: str) -> str:
    """Take away the mark that `guarded` sets, so that a file given back and corrected comes in as it was."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA) else cell


def _from_json(text: str, parts: Sequence[str]) -> Sheet:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise Unreadable("The JSON is nested too deeply.") from error
    except ValueError as error:
        first = text.lstrip().partition("\n")[0]
        if first.startswith("{") and _is_json(first) and not parts:
            return _from_json_lines(text)
        raise Unreadable(f"The JSON is broken: {error}.") from error
    if isinstance(found, list):
        if parts:
            raise Unreadable("This JSON is a plain list without parts.")
        return _sheet_of(enumerate(found, start=1))
    if found and all(isinstance(rows, list) for rows in found.values()):
        return _from_parts(found, parts)
    if parts:
        raise Unreadable("This JSON has no parts.")
    return _sheet_of([(1, found)])


def _from_json_lines(text: str) -> Sheet:
    def records() -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    yield number, json.loads(line, parse_constant=_refuse_constant)
                except (ValueError, RecursionError):
                    yield number, Problem(number, "", "is not JSON.")

    return _sheet_of(records())


def _sheet_of(records: Iterable[tuple[int, Any]]) -> Sheet:
    rows: list[Row] = []
    problems: list[Problem] = []
    columns: dict[str, None] = {}
    for number, record in records:
        _ensure_room(rows)
        if isinstance(record, dict):
            rows.append(Row(number, record))
            columns.update(dict.fromkeys(record))
        elif isinstance(record, Problem):
            problems.append(record)
        else:
            problems.append(Problem(number, "", 'is not a JSON object such as {"id": "T-1", "text": "…"}.'))
    return Sheet(tuple(rows), tuple(columns), tuple(problems))


def _from_parts(found: Mapping[str, list[Any]], parts: Sequence[str]) -> Sheet:
    sizes = {part: len(rows) for part, rows in found.items()}
    told = ", ".join(f"{part} ({size:,})" for part, size in sizes.items())
    if not parts:
        raise Unreadable(f"The file has several parts: {told}. Say which to take.")
    if missing := [part for part in parts if part not in found]:
        raise Unreadable(f"The file has no part {missing[0]}. It has: {told}.")
    rows: list[Row] = []
    problems: list[Problem] = []
    for part in dict.fromkeys(parts):
        for position, pair in enumerate(found[part], start=1):
            _ensure_room(rows)
            number = len(rows) + len(problems) + 1
            match pair:
                case [str(text), str(label)]:
                    rows.append(Row(number, {"id": f"{part}-{position}", "text": text, "label": label}, part))
                case _:
                    problems.append(Problem(number, part, f"number {position} is not [text, label]."))
    return Sheet(tuple(rows), ("id", "text", "label"), tuple(problems), parts=sizes)


def _ensure_room(rows: Sequence[Row]) -> None:
    if len(rows) >= MAX_ROWS:
        raise Unreadable(
            f"The file has more than {MAX_ROWS:,} rows. Split it; cases that are known already are not taken twice."
        )


def _faults_of_work(row: Row, seen: Mapping[str, int]) -> Iterator[Problem]:
    external_id = _text(row.values.get("id")).strip()
    if not external_id:
        yield Problem(row.number, "id", "is missing.")
    elif len(external_id) > MAX_ID:
        yield Problem(row.number, "id", f"has {len(external_id):,} characters; {MAX_ID} are allowed.")
    elif not is_record_id(external_id):
        yield Problem(
            row.number,
            "id",
            f"“{_short(external_id)}” cannot name a record: only the letters A to Z, digits and . _ ~ : - may stand in it, "
            "no spaces or slashes, and not only dots.",
        )
    elif external_id in seen:
        yield Problem(row.number, "id", f"“{_short(external_id)}” stands in row {seen[external_id]} already.")
    yield from _faults_of_text(row)
    customer = row.values.get("customer")
    if isinstance(customer, list | dict):
        yield Problem(row.number, "customer", "must be the customer's id, not a list or an object.")
    elif len(_text(customer)) > MAX_ID:
        yield Problem(row.number, "customer", f"has {len(_text(customer)):,} characters; {MAX_ID} are allowed.")
    try:
        _due(row)
    except ValueError as fault:
        yield Problem(row.number, "due", str(fault))
    yield from _faults_of_values(row)


def _due(row: Row) -> datetime | None:
    """Read when the case is due. Raises ValueError with the sentence that the row's owner reads."""
    given = row.values.get("due")
    text = given.strip() if isinstance(given, str) else ""
    if given is None or (not text and isinstance(given, str)):
        return None
    try:
        due = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"“{_short(_text(given))}” is no time. {_DUE_FORM}") from None
    if due.utcoffset() is None:
        raise ValueError(f"“{_short(text)}” names no time zone. {_DUE_FORM}")
    if due.year not in DUE_YEARS:
        raise ValueError(f"“{_short(text)}” is not in the years {DUE_YEARS[0]} to {DUE_YEARS[-1]}.")
    return due


_DUE_FORM = "Write it as 2027-05-04T16:00+02:00, or with Z for UTC."


def _faults_of_text(row: Row) -> Iterator[Problem]:
    text = row.values.get("text")
    if text is not None and not isinstance(text, str):
        yield Problem(row.number, "text", "must be a text.")
    elif not (text or "").strip():
        yield Problem(row.number, "text", "is missing.")
    elif len(text or "") > MAX_TEXT:
        yield Problem(row.number, "text", f"has {len(text or ''):,} characters; {MAX_TEXT:,} are allowed.")


def _faults_of_values(row: Row) -> Iterator[Problem]:
    for column, value in row.values.items():
        if not _is_storable(column) or not _is_storable(value):
            yield Problem(
                row.number,
                _short(column),
                "holds a NUL, half a character or an endless number, which no system can store.",
            )
    if sum(len(_text(value)) for value in row.values.values()) > MAX_ROW:
        yield Problem(row.number, "", f"is larger than {MAX_ROW // 1024} kB.")


def _is_storable(value: Value) -> bool:
    if isinstance(value, str):
        return not _UNSTORABLE.search(value)
    try:
        # Inside of lists and objects a NUL is spelt out.
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return False
    return not _UNSTORABLE.search(text) and "\\u0000" not in text


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _label(row: Row, labels: Mapping[str, str] | None) -> dict[str, Value] | None:
    label = row.values.get("label")
    if label is None:
        return None
    if isinstance(label, dict):
        return label
    given = _text(label).strip()
    if labels is not None:
        return {"queue": labels.get(given), "given": given}
    return {"queue": None if given in OUTSIDE else given}


def _text(value: Value) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(text: str) -> str:
    shown = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"


_SHOWN = 40


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
