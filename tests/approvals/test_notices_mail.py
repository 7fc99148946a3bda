"""E-mail over a real SMTP server on loopback."""

import pytest
from aiosmtpd.controller import Controller

from apps.accounts.actions import change_profile
from apps.approvals.actions import channels, notices
from apps.approvals.models import Notice
from apps.audit.clock import clock
from tests.factories.approvals import decide, make_proposal
from tests.factories.notices import make_channel
from tests.plugins_desk import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.processes]


class Postbox:
    """Takes letters, or refuses whom it is told to."""

    def __init__(self):
        self.letters, self.refused = [], set()

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  # the server's names
        if address in self.refused:
            return "550 No such person"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  # as above
        self.letters.append(envelope.content.decode())
        return "250 OK"


@pytest.fixture
def postbox(settings):
    box = Postbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", server.port, False
    settings.DEFAULT_FROM_EMAIL = "Pastpilot <pastpilot@example.com>"
    yield box
    server.stop()


def test_a_letter_and_its_answer_arrive(team, ada, ben, cora, postbox):
    channel = make_channel(team, cora, kind="email", address="desk@example.com")
    proposal = make_proposal(team, ada, at=clock())
    notices.deliver(channel.pk)
    decide(proposal, ben, at=clock())

    notices.deliver(channel.pk)

    asked, told = postbox.letters
    message_id = Notice.objects.get(event="asked").message_id
    assert "Subject: 4 h left: Route T-1001 to billing, medium risk" in asked
    assert f"Message-ID: <{message_id}@" in asked
    assert "Subject: Decided: Route T-1001 to billing" in told
    assert f"In-Reply-To: <{message_id}@" in told


def test_a_refused_recipient_is_kept_with_the_reason(team, ada, cora, postbox):
    channel = make_channel(team, cora, kind="email", address="nobody@example.com")
    postbox.refused.add("nobody@example.com")
    make_proposal(team, ada)

    notices.deliver(channel.pk)

    row = Notice.objects.get(channel=channel)
    assert (row.state, row.last_error) == ("new", "The mail server refused the recipient (code 550).")


def test_a_mail_server_that_is_down_is_tried_again(team, ada, cora, postbox, settings):
    channel = make_channel(team, cora, kind="email", address="desk@example.com")
    settings.EMAIL_PORT = free_port()
    make_proposal(team, ada)

    notices.deliver(channel.pk)

    row = Notice.objects.get(channel=channel)
    assert (row.state, row.attempts) == ("new", 1)
    assert row.last_error.startswith("The mail server could not be reached")


def test_a_test_letter_says_that_it_works(team, cora, postbox):
    channel = make_channel(team, cora, kind="email", address="desk@example.com")

    tried = channels.send_test(channel, actor=cora)

    assert tried.is_sent
    assert "Subject: Test of the channel" in postbox.letters[0]


class TestWhoWantsNone:
    @pytest.fixture
    def channel(self, team, cora, ben, postbox):
        return make_channel(team, cora, kind="email", address=ben.email.upper())

    def decline(self, person):
        change_profile(person, name=person.name, time_zone=person.time_zone, wants_mail=False)

    def test_everybody_wants_messages_until_they_say_otherwise(self, team, ada, channel, postbox):
        make_proposal(team, ada)

        assert notices.deliver(channel.pk)
        assert len(postbox.letters) == 1

    def test_nothing_is_sent_to_the_address_of_whoever_wants_none(self, team, ada, ben, channel, postbox):
        make_proposal(team, ada)
        self.decline(ben)

        assert not notices.deliver(channel.pk)

        row = Notice.objects.get(channel=channel)
        assert (postbox.letters, row.state, row.last_error) == ([], "moot", notices.DECLINED)

    def test_other_addresses_of_the_team_hear_of_it(self, team, ada, cora, ben, channel, postbox):
        desk = make_channel(team, cora, kind="email", address="desk@example.com")
        self.decline(ben)
        make_proposal(team, ada)

        assert notices.deliver(desk.pk)
        assert len(postbox.letters) == 1
