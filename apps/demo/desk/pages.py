"""The desk's own pages, for people who want to see what was written."""

from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from apps.demo.desk.answers import CSS, HTML, Answer
from apps.demo.desk.store import CREATE, JournalRow, RecordMissing, Store, Stored

PER_PAGE: Final = 50
EXCERPT: Final = 140
STYLE: Final = (Path(__file__).parent / "desk.css").read_bytes()

SHELL: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Simulated ticket desk</title>
<link rel="stylesheet" href="/desk.css">
</head>
<body>
<header>
<p class="name"><a href="/">Simulated ticket desk</a></p>
<nav aria-label="Pages"><a href="/"{on_tickets}>Tickets</a> <a href="/log"{on_log}>Log</a></nav>
</header>
<main>
<p class="notice">This is a simulated system for the demo. Its customers and tickets are made up.</p>
<h1>{heading}</h1>
{content}
</main>
</body>
</html>
"""


def page(store: Store, path: tuple[str, ...], query: dict[str, str]) -> Answer | None:
    """Return the page of a path, or None where there is none."""
    match path:
        case ():
            return _tickets(store, query)
        case ("t", ticket_id):
            return _ticket(store, ticket_id)
        case ("log",):
            return _log(store)
        case ("desk.css",):
            return Answer(200, STYLE, CSS)
    return None


def _tickets(store: Store, query: dict[str, str]) -> Answer:
    text = query.get("q", "").strip()
    given = query.get("page", "1")
    number = max(1, int(given)) if given.isascii() and given.isdigit() and len(given) < 9 else 1  # noqa: PLR2004 more pages than tickets fit in memory
    items, total = store.find("tickets", where={}, text=text, limit=PER_PAGE, skip=(number - 1) * PER_PAGE)
    written = store.counts()["writes"]
    rows = "".join(_ticket_row(item) for item in items)
    table = (
        '<div class="wide" tabindex="0" role="region" aria-label="Tickets"><table>'
        "<caption>Tickets, newest first</caption><thead><tr>"
        '<th scope="col">Ticket</th><th scope="col">What the customer wrote</th><th scope="col">Customer</th>'
        '<th scope="col">Queue</th><th scope="col">Priority</th><th scope="col">Status</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
        if items
        else f"<p>{'No ticket matches. Search for something else.' if text else 'No tickets yet.'}</p>"
    )
    content = (
        f'<p class="muted">{_counted(total, "ticket")}{" match" if text else ""}, {_counted(written, "write")} applied.</p>'
        '<form action="/" role="search"><label for="q">Search tickets</label>'
        f'<input id="q" name="q" type="search" value="{escape(text)}"><button>Search</button></form>'
        f"{table}{_pager(text, number, total)}"
    )
    return _html("Tickets", content, on="tickets")


def _ticket_row(item: Stored) -> str:
    fields = item.fields
    text = str(fields.get("subject") or fields["text"])
    excerpt = text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
    cells = "".join(
        f"<td>{escape(str(fields[name] or '—'))}</td>" for name in ("customer", "queue", "priority", "status")
    )
    return f'<tr><th scope="row"><a href="/t/{escape(fields["id"])}">{escape(fields["id"])}</a></th><td class="text">{escape(excerpt)}</td>{cells}</tr>'


def _ticket(store: Store, ticket_id: str) -> Answer:
    try:
        ticket = store.get("tickets", ticket_id)
    except RecordMissing:
        return _html("Not found", '<p>There is no such ticket. <a href="/">Back to all tickets</a></p>', status=404)
    facts = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{_value(value)}</dd>"
        for name, value in ticket.fields.items()
        if name != "id"
    )
    rows = store.journal(of=("tickets", ticket_id), newest_first=True)
    history = f"<h2>Changes</h2>{_journal_table(rows)}" if rows else "<h2>Changes</h2><p>Nothing was written yet.</p>"
    return _html(f"Ticket {ticket_id}", f"<dl>{facts}</dl>{_customer(store, ticket)}{history}", on="tickets")


def _customer(store: Store, ticket: Stored) -> str:
    try:
        customer = store.get("customers", str(ticket.fields["customer"]))
    except RecordMissing:
        return ""
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{_value(value)}</dd>"
        for name, value in customer.fields.items()
        if name not in {"version", "created_at"}
    )
    return f"<h2>Customer</h2><dl>{facts}</dl>"


def _log(store: Store) -> Answer:
    rows = store.journal(limit=200, newest_first=True)
    counts = store.counts()
    total, created = _counted(counts["writes"], "write"), counts["created"]
    note = f'<p class="muted">{total} applied, {created:,} of them opened a record; the newest {len(rows)} are shown. Each row was written once and cannot be changed.</p>'
    return _html(
        "Log of writes", note + (_journal_table(rows) if rows else "<p>Nothing was written yet.</p>"), on="log"
    )


def _journal_table(rows: list[JournalRow]) -> str:
    body = "".join(
        f"<tr><td>{escape(row.at)}</td>"
        f"<td>{_record_link(row)}</td><td>{escape(row.actor)}</td><td>{_changes(row)}</td>"
        f"<td><code>{escape(row.key)}</code></td></tr>"
        for row in rows
    )
    return (
        '<div class="wide" tabindex="0" role="region" aria-label="Writes"><table><caption>Writes, newest first</caption><thead><tr>'
        '<th scope="col">At</th><th scope="col">Record</th><th scope="col">By</th><th scope="col">Change</th>'
        f'<th scope="col">Idempotency key</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def _record_link(row: JournalRow) -> str:
    shown = escape(row.id)
    return f'<a href="/t/{shown}">{shown}</a>' if row.collection == "tickets" else f"{escape(row.collection)} {shown}"


def _changes(row: JournalRow) -> str:
    lines = (
        f"<li>{escape(name)}: <del>{_value(row.before.get(name))}</del> → <ins>{_value(value)}</ins></li>"
        for name, value in row.after.items()
    )
    opened = "<p>New record</p>" if row.kind == CREATE else ""
    return f"{opened}<ul>{''.join(lines)}</ul>"


def _value(value: Any) -> str:
    if value in (None, "", []):
        return '<span class="muted">empty</span>'
    return escape(", ".join(value) if isinstance(value, list) else str(value))


def _pager(text: str, number: int, total: int) -> str:
    pages = max(1, -(-total // PER_PAGE))
    links = [
        f'<a href="/?{escape(urlencode({"q": text, "page": target}))}" rel="{rel}">{word}</a>'
        for target, rel, word in ((number - 1, "prev", "Newer"), (number + 1, "next", "Older"))
        if 1 <= target <= pages
    ]
    return (
        f'<nav aria-label="More tickets"><p>Page {number} of {pages} {" ".join(links)}</p></nav>' if pages > 1 else ""
    )


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _html(title: str, content: str, *, on: str = "", status: int = 200) -> Answer:
    here = ' aria-current="page"'
    shown = SHELL.format(
        title=escape(title),
        heading=escape(title),
        content=content,
        on_tickets=here if on == "tickets" else "",
        on_log=here if on == "log" else "",
    )
    return Answer(status, shown.encode(), HTML)
