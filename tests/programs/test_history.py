"""What was signed, shown and read stays as it was: the database refuses to change it, whoever asks."""

import pytest
from django.db import ProgrammingError, transaction

from apps.programs.actions import gates
from apps.programs.models import Catalogue, Evidence, GateEvent, SignOff
from tests.factories.approvals import make_agent
from tests.factories.programs import NOW, gate, make_catalogue, make_program, signer, submitted

pytestmark = pytest.mark.django_db


@pytest.fixture
def charter(team, ada, dev):
    program = make_program(make_agent(team, ada, stage="demo"), dev)
    return submitted(gate(program, "PRD-01"), ada)


def refused(change):
    with pytest.raises(ProgrammingError, match="pgtrigger: Cannot"), transaction.atomic():
        change()


@pytest.mark.parametrize(
    ("model", "change"),
    [
        (GateEvent, {"kind": "signed"}),
        (Evidence, {"url": "https://docs.example.com/other"}),
        (Catalogue, {"body": {}}),
    ],
)
def test_history_evidence_and_catalogues_neither_change_nor_go(charter, model, change):
    # No program pins this one: only the guard stands before it.
    make_catalogue({"id": "A-01", "mode": "manual"})
    newest = model.objects.filter(pk=model.objects.latest("pk").pk)

    refused(lambda: newest.update(**change))
    refused(newest.delete)


def test_a_round_takes_its_answer_once_and_stays(charter):
    paul = signer(charter)
    refused(lambda: SignOff.objects.update(requester=paul))
    refused(lambda: SignOff.objects.update(requested_at=NOW.replace(year=2020)))

    sign_off = gates.sign_gate(charter, actor=paul, at=NOW)

    refused(lambda: SignOff.objects.update(outcome="refuse"))
    refused(lambda: SignOff.objects.update(reason="Another one"))
    refused(lambda: SignOff.objects.filter(pk=sign_off.pk).delete())
