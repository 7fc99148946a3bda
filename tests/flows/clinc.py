"""The CLINC-150 queries as work: what a person asked, and which of ten queues is right, or none."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT.parent / "shared" / "data" / "clinc150"
QUERIES: Final = FOLDER / "data_oos_plus.json"
DOMAINS: Final = FOLDER / "domains.json"
WHY_NOT: Final = f"The CLINC-150 queries are not at {QUERIES}."
TAUGHT_FROM: Final = "train"
IN_SCOPE: Final = "test"
OUT_OF_SCOPE: Final = "oos_test"


@dataclass(frozen=True, slots=True)
class Case:
    """One query. No queue: outside the agent's scope."""

    id: str
    text: str
    label: str
    queue: str | None


def is_there() -> bool:
    return QUERIES.exists() and DOMAINS.exists()


def cases(*, in_scope: int | None = None, out_of_scope: int | None = None) -> list[Case]:
    """Return so many queries of either kind (all without a number), spread evenly over their part, always the same ones."""
    found = json.loads(QUERIES.read_text(encoding="utf-8"))
    queues = {label: queue for queue, labels in json.loads(DOMAINS.read_text()).items() for label in labels}
    chosen = []
    for part, count in ((IN_SCOPE, in_scope), (OUT_OF_SCOPE, out_of_scope)):
        # The ids are those that the import gives to the rows of a part.
        rows = [
            Case(f"{part}-{number}", text, label, queues.get(label))
            for number, (text, label) in enumerate(found[part], start=1)
        ]
        chosen += rows if count is None else _spread(rows, count)
    return chosen


def shuffled(rows: Iterable[Case]) -> list[Case]:
    """Mix both kinds in an order that looks random and is always the same."""
    return sorted(rows, key=lambda case: hash_of(case.id))


def hash_of(text: str) -> int:
    """Return a number that only depends on the text, unlike Python's own hash."""
    number = 2166136261
    for byte in text.encode():
        number = (number ^ byte) * 16777619 % 2**32
    return number


def write_lines(rows: Iterable[Case], path: Path) -> Path:
    """Write work as JSON lines for `import_work`, with the right answer beside it, which agents never see."""
    lines = (json.dumps({"id": each.id, "text": each.text, "label": each.label}) for each in rows)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _spread(rows: list[Case], count: int) -> list[Case]:
    return [rows[place * len(rows) // count] for place in range(min(count, len(rows)))]
