"""The page that takes in a file of work: check it first, then import it, all rows or none."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from apps.accounts.access import ensure
from apps.accounts.queries import team_ids_with
from apps.accounts.types import AuthenticatedRequest
from apps.agents.models import Agent
from apps.runs.actions.imports import Imported
from apps.runs.domain import files
from apps.runs.models import ImportJob
from apps.runs.reading import FaultyFile, import_bytes

# One upload; larger files go through the command.
MAX_BYTES = 5 * 1024 * 1024


class ImportForm(forms.Form):
    agent = forms.ModelChoiceField(Agent.objects.none(), empty_label=None)
    file = forms.FileField(
        help_text="CSV, JSON or JSON lines in UTF-8 with id, text, customer and, if there is a promise to keep, due; at most 5 MB."
    )
    parts = forms.CharField(
        required=False, max_length=200, help_text="Only for files of several parts: their names, with commas."
    )

    # Off unless asked for: it writes to the system of record, and nothing here can take that back.
    open_tickets = forms.BooleanField(
        label="Open tickets that the system does not know yet",
        required=False,
        help_text="In your name, as each run begins. Without it, a case that the system does not know ends with a person.",
    )

    withdraw = forms.BooleanField(
        label="Take back the questions of cases whose row has changed, and begin them anew",
        required=False,
        help_text="In your name; it takes an operator. Without it, a changed row of a case in work is refused.",
    )

    def __init__(self, *args: Any, teams: frozenset[int], **options: Any) -> None:
        super().__init__(*args, **options)
        choices = self.fields["agent"]
        assert isinstance(choices, forms.ModelChoiceField)  # noqa: S101  # tells the type checker which field it is
        choices.queryset = Agent.objects.filter(team__in=teams).exclude(stage="retired").order_by("name")

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MAX_BYTES:
            raise forms.ValidationError("This file is larger than 5 MB. Split it, or use manage.py import_work.")
        return file

    @property
    def part_names(self) -> list[str]:
        return [name.strip() for name in self.cleaned_data["parts"].split(",") if name.strip()]


@dataclass(frozen=True, slots=True)
class Result:
    """What a check or an import found."""

    done: Imported | None = None
    is_check: bool = False
    opens: bool = False
    refusal: str = ""
    faults: tuple[str, ...] = ()


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def import_work(request: AuthenticatedRequest) -> HttpResponse:
    ensure(request.user, "work.import")
    teams = team_ids_with(request.user, "work.import")
    form = ImportForm(request.POST or None, request.FILES or None, teams=teams)
    result = None
    if request.method == "POST" and form.is_valid():
        if request.POST.get("want") == "errors":
            return _with_errors(form)
        result = _result(request, form)
    status = _status(form, result)
    jobs = ImportJob.objects.filter(agent__team__in=teams).select_related("agent").order_by("-pk")[:20]
    template = "runs/_import_result.html" if request.htmx else "runs/import.html"
    return render(request, template, {"form": form, "result": result, "jobs": jobs}, status=status)


def _status(form: ImportForm, result: Result | None) -> HTTPStatus:
    if form.errors or (result and not result.done):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    is_refused = result is not None and result.done is not None and not result.is_check and result.done.refused
    return HTTPStatus.CONFLICT if is_refused else HTTPStatus.OK


def _result(request: AuthenticatedRequest, form: ImportForm) -> Result:
    file = form.cleaned_data["file"]
    is_check = request.POST.get("want") != "import"
    try:
        done = import_bytes(
            form.cleaned_data["agent"],
            file.read(),
            name=file.name,
            actor=request.user.actor,
            parts=form.part_names,
            open_tickets=form.cleaned_data["open_tickets"],
            withdraw_as=request.user if form.cleaned_data["withdraw"] else None,
            dry_run=is_check,
        )
    except files.Unreadable as refusal:
        return Result(refusal=str(refusal))
    except FaultyFile as refusal:
        return Result(refusal=str(refusal), faults=tuple(refusal.lines))
    return Result(done=done, is_check=is_check, opens=form.cleaned_data["open_tickets"])


def _with_errors(form: ImportForm) -> HttpResponse:
    """Give the file back as CSV with a column that says what is wrong in each row."""
    try:
        sheet = files.read(form.cleaned_data["file"].read(), parts=form.part_names)
    except files.Unreadable as refusal:
        return HttpResponse(
            str(refusal), status=HTTPStatus.UNPROCESSABLE_ENTITY, content_type="text/plain; charset=utf-8"
        )
    _, problems = files.work(sheet.rows)
    response = HttpResponse(
        files.with_errors(sheet, [*sheet.problems, *problems]), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="with-errors.csv"'
    return response
