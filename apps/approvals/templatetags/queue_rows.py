"""The lines of the queue, drawn without a template: fifty of them were two thirds of what the page cost."""

from django import template
from django.template.context import Context
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.approvals.queries.rows import InboxRow
from apps.ui.templatetags.ui import ago, chip, until

register = template.Library()


@register.simple_tag(takes_context=True)
def queue_row(context: Context, row: InboxRow, *, out_of_band: bool = False) -> SafeString:
    """Draw one card of the queue. The page around it says which is open, and what the addresses carry along."""
    is_current = str(context.get("open_id") or "") == str(row.id)
    current = format_html(' aria-current="true"') if is_current else ""
    card_url = f"{context['inbox_url']}{row.id}/"
    return format_html(
        '<li id="proposal-{id}"{current}{oob}><input type="hidden" name="shown" value="{id}:{version}">{opened}'
        '<a class="row" href="{url}{trail}" hx-post="{url}claim/" hx-target="#detail" hx-swap="innerHTML"'
        ' hx-push-url="{url}{trail}" hx-sync="#detail:replace" data-item{current}>{chip}<span class="row-main">'
        '<span class="row-title" title="{title}">{title}</span><span class="row-meta" title="{meta}">{meta}</span></span>'
        '<span class="row-end"><span>{age}</span>{due}</span></a></li>',
        id=row.id,
        version=row.version,
        current=current,
        oob=format_html(' hx-swap-oob="true"') if out_of_band else "",
        opened=format_html('<input type="hidden" name="open" value="{}">', row.id) if is_current else "",
        url=card_url,
        trail=context.get("trail", ""),
        chip=_chip(row),
        title=row.title,
        meta=" · ".join(_meta(row)),
        age=ago(row.created_at, short=True),
        due=format_html('<span class="muted">{}</span>', until(row.due)) if row.is_open else "",
    )


def _chip(row: InboxRow) -> SafeString:
    if not row.is_open:
        return chip("idle", row.state_words)
    if row.is_taken:
        return chip("idle", "Taken")
    if row.approved_by_me:
        return chip("idle", "Approved by you")
    if row.is_urgent:
        return chip("warn", "Urgent")
    return chip("wait", "Yours" if row.assigned_to_me else "Needs you")


def _meta(row: InboxRow) -> list[str]:
    # A long name is cut at the end of the line: it stands behind what nobody may miss.
    said = [f"{row.risk.capitalize()} risk"]
    if row.approvals_needed > 1:
        said.append(f"{row.approvals_given} of {row.approvals_needed} approvals")
    if row.is_escalated and row.is_open:
        said.append("escalated")
    if row.duplicates:
        said.append(f"{row.duplicates} more like it")
    if row.is_taken:
        said.append(f"{row.claimed_by} is deciding")
    elif row.assigned_to:
        said.append("handed to you" if row.assigned_to_me else f"handed to {row.assigned_to}")
    return [*said, row.agent_name]
