"""The pages of a team's channels: who sees and changes what, and that secrets are told once."""

import pytest
from django.urls import reverse

from apps.approvals.actions import channels
from apps.approvals.models import Channel, Notice
from apps.audit.models import AuditEvent
from tests.approvals.receiver import Receiver
from tests.factories.approvals import make_proposal
from tests.factories.notices import LOOPBACK, make_channel, make_notice

pytestmark = pytest.mark.django_db

LIST = reverse("approvals:channels")
NEW = reverse("approvals:channel-new")
URL = "https://hooks.example.com/services/T0/B0/very-secret-path"


def at(name, *ids):
    return reverse(f"approvals:{name}", args=ids)


def facts(team, **fields):
    return {"team": team.pk, "kind": "webhook", "name": "Hook", "address": URL, "risk_from": "low", **fields}


def audited():
    events = AuditEvent.objects.filter(action__startswith="channel.").order_by("id")
    return [each.action for each in events]


class TestWhoMayWhat:
    @pytest.mark.parametrize("name", ["ben", "cora", "olga", "ivo"])
    def test_reviewers_operators_auditors_and_administrators_read(self, client, cast, team, cora, name):
        make_channel(team, cora, name="Night desk")
        client.force_login(cast[name])

        assert b"Night desk" in client.get(LIST).content

    @pytest.mark.parametrize("name", ["ada", "dev", "max_"])
    def test_others_are_told_whom_to_ask(self, client, cast, name):
        client.force_login(cast[name])

        assert client.get(LIST).status_code == 403

    @pytest.mark.parametrize(("name", "status"), [("cora", 200), ("ivo", 200), ("ben", 403), ("olga", 403)])
    def test_operators_and_administrators_change(self, client, cast, name, status):
        client.force_login(cast[name])

        assert client.get(NEW).status_code == status

    @pytest.mark.parametrize("verb", ["change", "switch", "test", "rotate", "remove"])
    def test_a_reviewer_changes_nothing(self, client, team, ben, cora, verb):
        channel = make_channel(team, cora)
        client.force_login(ben)

        assert client.post(at(f"channel-{verb}", channel.pk)).status_code == 403
        assert Channel.objects.filter(pk=channel.pk, is_active=True).exists()

    def test_eve_finds_no_channel_of_another_team(self, client, team, cora, eve):
        channel = make_channel(team, cora, name="Night desk")
        client.force_login(eve)

        assert b"Night desk" not in client.get(LIST).content
        assert client.get(at("channel", channel.pk)).status_code == 404
        assert client.post(at("channel-remove", channel.pk)).status_code == 404

    def test_eve_adds_none_to_another_team(self, client, team, eve):
        client.force_login(eve)

        answer = client.post(NEW, facts(team))

        assert answer.status_code == 422
        assert not Channel.objects.exists()

    def test_a_message_of_another_channel_is_not_sent_again(self, client, team, ada, cora, other_team, eve):
        own = make_channel(other_team, eve)
        notice = make_notice(make_channel(team, cora), make_proposal(team, ada), event="decided", state="dead")
        client.force_login(eve)

        assert client.post(at("channel-again", own.pk, notice.pk)).status_code == 404
        assert Notice.objects.get(pk=notice.pk).state == "dead"

    def test_an_administrator_without_the_inbox_reads_no_titles(self, client, team, ada, cora, ivo):
        channel = make_channel(team, cora)
        make_proposal(team, ada, title="Route T-1001 to billing")
        client.force_login(ivo)

        page = client.get(at("channel", channel.pk)).content

        assert b"Route T-1001" not in page
        assert b"A card waits for a person" in page


class TestAdding:
    def test_the_secret_of_a_webhook_is_shown_once(self, client, team, cora):
        client.force_login(cora)

        answer = client.post(NEW, facts(team))

        channel = Channel.objects.get()
        assert b"whsec_" in answer.content
        assert "no-store" in answer.headers["Cache-Control"]
        assert b"whsec_" not in client.get(at("channel", channel.pk)).content
        assert audited() == ["channel.added"]

    def test_a_url_is_sealed_and_only_its_host_is_shown(self, client, team, cora):
        client.force_login(cora)
        client.post(NEW, facts(team, kind="chat"))

        channel = Channel.objects.get()
        page = client.get(at("channel", channel.pk)).content
        told = AuditEvent.objects.get(action="channel.added").payload
        assert channel.address == "hooks.example.com"
        assert b"very-secret-path" not in bytes(channel.sealed_url)
        assert b"very-secret-path" not in page
        assert "very-secret-path" not in told
        assert channels.opened(channel).address == URL

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"address": "http://127.0.0.1:9/x"}, "Plain http is not taken here."),
            ({"address": "https://127.0.0.1/x"}, "not a public address"),
            ({"address": "https://169.254.169.254/x"}, "link-local"),
            ({"address": "https://hooks.example.com/x?token=1"}, "may not hold a query"),
            ({"kind": "email", "address": "desk"}, "This is no e-mail address."),
        ],
    )
    def test_an_address_that_must_not_be_called_is_refused(self, client, team, cora, fields, sentence):
        client.force_login(cora)

        answer = client.post(NEW, facts(team, **fields))

        assert answer.status_code == 422
        assert sentence in answer.content.decode()
        assert not Channel.objects.exists()

    def test_a_taken_name_is_said_on_the_form(self, client, team, cora):
        make_channel(team, cora, name="Hook")
        client.force_login(cora)

        answer = client.post(NEW, facts(team))

        assert answer.status_code == 422
        assert b"Another channel of the team is already called Hook" in answer.content

    def test_only_an_administrator_grants_a_network(self, client, team, cora, ivo):
        inside = facts(team, address="https://10.20.0.7/hook", network="10.20.0.0/16")
        client.force_login(cora)
        refused = client.post(NEW, inside)
        client.force_login(ivo)

        granted = client.post(NEW, inside)

        assert refused.status_code == 422
        assert granted.status_code == 200
        assert Channel.objects.get().allowed_cidrs == ["10.20.0.0/16"]

    def test_an_e_mail_channel_says_that_there_is_no_mail_server(self, client, team, cora):
        client.force_login(cora)
        client.post(NEW, facts(team, kind="email", address="desk@example.com"))

        channel = Channel.objects.get()
        page = client.get(at("channel", channel.pk)).content.decode()
        assert not channel.is_active
        assert "No mail server is configured, so no e-mail leaves." in page

    def test_a_team_has_so_many_and_no_more(self, client, team, cora, monkeypatch):
        for _ in range(channels.MOST_PER_TEAM):
            make_channel(team, cora)
        client.force_login(cora)

        assert client.post(NEW, facts(team)).status_code == 422
        assert Channel.objects.count() == channels.MOST_PER_TEAM


class TestChanging:
    def test_it_keeps_the_stored_url_when_none_is_typed(self, client, team, cora):
        channel = make_channel(team, cora, address=URL)
        client.force_login(cora)

        client.post(at("channel-change", channel.pk), {"name": "Night", "risk_from": "high", "events": ["asked"]})

        channel.refresh_from_db()
        assert (channel.name, channel.risk_from, channel.events) == ("Night", "high", ["asked"])
        assert channels.opened(channel).address == URL
        assert audited() == ["channel.added", "channel.changed"]

    def test_a_new_url_keeps_the_signing_secret(self, team, cora):
        channel = make_channel(team, cora)
        before = channels.opened(channel).secrets

        moved = channels.change_channel(
            channel, name="Hook", events=[], risk_from="low", address="https://other.example.com/x", actor=cora
        )

        assert channels.opened(moved).secrets == before
        assert moved.address == "other.example.com"

    def test_an_operator_leaves_the_grants_of_an_administrator_alone(self, client, team, cora, ivo):
        channel = make_channel(team, ivo, networks=["10.20.0.0/16"])
        client.force_login(cora)

        client.post(at("channel-change", channel.pk), {"name": "Night", "risk_from": "low"})

        channel.refresh_from_db()
        assert channel.allowed_cidrs == ["10.20.0.0/16"]

    def test_it_is_switched_off_and_on(self, client, team, cora):
        channel = make_channel(team, cora)
        client.force_login(cora)

        client.post(at("channel-switch", channel.pk), {"active": "0"})
        off = Channel.objects.get().is_active
        client.post(at("channel-switch", channel.pk), {"active": "1"})

        assert not off
        assert Channel.objects.get().is_active

    def test_a_new_secret_is_shown_once(self, client, team, cora):
        channel = make_channel(team, cora)
        client.force_login(cora)

        answer = client.post(at("channel-rotate", channel.pk))

        secret = channels.opened(Channel.objects.get()).secrets[0].text
        assert secret.replace("+", "&#x2B;").encode() in answer.content or secret.encode() in answer.content
        assert secret.encode() not in client.get(at("channel", channel.pk)).content

    def test_it_goes_with_its_messages_and_the_log_stays(self, client, team, ada, cora):
        channel = make_channel(team, cora)
        make_proposal(team, ada)
        client.force_login(cora)

        client.post(at("channel-remove", channel.pk))

        assert not Channel.objects.exists()
        assert not Notice.objects.exists()
        assert audited() == ["channel.added", "channel.removed"]


class TestItsPage:
    def test_what_was_given_up_is_shown_with_its_error_and_sent_again(self, client, team, ada, cora):
        channel = make_channel(team, cora)
        make_proposal(team, ada)
        Notice.objects.update(state="dead", attempts=8, last_error="The receiver answered 500.")
        client.force_login(cora)
        page = client.get(at("channel", channel.pk)).content.decode()

        client.post(at("channel-again", channel.pk, Notice.objects.get().pk))

        assert "Given up" in page
        assert "The receiver answered 500." in page
        assert "Send again" in page
        assert (Notice.objects.get().state, Notice.objects.get().attempts) == ("new", 0)

    def test_a_reviewer_sees_the_error_and_no_buttons(self, client, team, ada, ben, cora):
        channel = make_channel(team, cora)
        make_proposal(team, ada)
        Notice.objects.update(state="dead", last_error="The receiver answered 500.")
        client.force_login(ben)

        page = client.get(at("channel", channel.pk)).content.decode()

        assert "The receiver answered 500." in page
        assert "Send again" not in page
        assert "Remove the channel" not in page

    def test_a_test_says_what_happened(self, client, team, cora):
        receiver = Receiver()
        channel = make_channel(team, cora, address=receiver.url, networks=[LOOPBACK])
        client.force_login(cora)
        arrived = client.post(at("channel-test", channel.pk), follow=True).content
        receiver.close()

        missed = client.post(at("channel-test", channel.pk), follow=True).content

        assert b"The test was taken." in arrived
        assert b'"type":"channel.test"' in receiver.requests[0][2]
        assert b"The test did not arrive. The receiver could not be reached." in missed
        outcomes = [each.header for each in AuditEvent.objects.filter(action="channel.tested").order_by("id")]
        assert ['"sent"' in header for header in outcomes] == [True, False]

    def test_an_empty_list_says_who_can_add_one(self, client, ben):
        client.force_login(ben)

        assert b"An operator or administrator of your team can add one." in client.get(LIST).content
