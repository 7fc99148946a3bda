"""S7: tokens are shown once, compared in constant time, bound to scopes and a network, and gone the moment they are revoked."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts import actions
from apps.accounts.access import Forbidden
from apps.accounts.domain import tokens
from apps.accounts.domain.addresses import client_address
from apps.accounts.domain.tokens import BadNetwork, Known, refusal
from apps.accounts.errors import BadToken
from apps.accounts.models import ApiToken
from apps.audit.models import AuditEvent
from tests.factories.outside import make_outside_agent, make_token

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
TEXT = tokens.spell("AbCd1234", "x" * 43)


def known_token(**facts):
    facts = {
        "sha256": tokens.digest_of_token(TEXT),
        "scopes": ("proposals:write",),
        "cidr": "",
        "expires_at": NOW + timedelta(seconds=1),
        "revoked_at": None,
        **facts,
    }
    return Known(**facts)


class TestWhereACallerComesFrom:
    @pytest.mark.parametrize(
        ("forwarded", "proxies", "address"),
        [
            ("", 0, "10.0.0.1"),
            ("198.51.100.1", 0, "10.0.0.1"),
            ("203.0.113.9", 1, "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9", 1, "203.0.113.9"),
            ("198.51.100.1, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
            ("203.0.113.9", 2, ""),
            ("", 1, ""),
        ],
    )
    def test_only_what_our_own_proxies_wrote_is_believed(self, forwarded, proxies, address):
        assert client_address("10.0.0.1", forwarded, trusted_proxies=proxies) == address


class TestTheRuleOfTheDoor:
    @pytest.mark.parametrize(
        ("facts", "shown", "address", "scope", "code"),
        [
            ({}, TEXT, "203.0.113.9", "proposals:write", None),
            ({}, TEXT + "x", "203.0.113.9", "proposals:write", "bad_token"),
            ({"expires_at": NOW}, TEXT, "203.0.113.9", "proposals:write", "token_expired"),
            ({"revoked_at": NOW}, TEXT, "203.0.113.9", "proposals:write", "token_revoked"),
            ({"revoked_at": NOW, "expires_at": NOW}, TEXT, "203.0.113.9", "proposals:write", "token_revoked"),
            ({"cidr": "203.0.113.0/24"}, TEXT, "203.0.113.9", "proposals:write", None),
            ({"cidr": "203.0.113.0/24"}, TEXT, "::ffff:203.0.113.9", "proposals:write", None),
            ({"cidr": "203.0.113.0/24"}, TEXT, "198.51.100.1", "proposals:write", "wrong_network"),
            ({"cidr": "203.0.113.0/24"}, TEXT, "", "proposals:write", "wrong_network"),
            ({}, TEXT, "203.0.113.9", "audit:read", "out_of_scope"),
        ],
    )
    def test_it_opens_or_says_why_not(self, facts, shown, address, scope, code):
        no = refusal(known_token(**facts), shown=shown, address=address, scope=scope, now=NOW)

        assert (no.code if no else None) == code

    def test_nobody_learns_what_is_wrong_with_a_token_they_do_not_hold(self):
        no = refusal(known_token(revoked_at=NOW), shown="pp_other", address="", scope="x", now=NOW)

        assert (no.code, no.is_known) == ("bad_token", False)

    def test_no_scope_of_any_kind_decides_signs_or_releases(self):
        verbs = {scope.split(":")[1] for scopes in tokens.SCOPES.values() for scope in scopes}

        assert verbs == {"write", "read", "engage"}
        assert not any(
            word in scope
            for scopes in tokens.SCOPES.values()
            for scope in scopes
            for word in ("decide", "sign", "level")
        )

    @given(st.text(max_size=70))
    def test_only_what_looks_like_a_token_is_looked_up(self, text):
        found = tokens.key_id_of(text)

        assert found is None or re.fullmatch(r"pp_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}", text)

    @pytest.mark.parametrize(
        ("text", "spelt"), [("", ""), (" 203.0.113.7 ", "203.0.113.7/32"), ("2001:DB8::/32", "2001:db8::/32")]
    )
    def test_a_network_has_one_spelling(self, text, spelt):
        assert tokens.network(text) == spelt

    @pytest.mark.parametrize("text", ["office", "203.0.113.7/24", "300.0.0.0/8"])
    def test_what_is_no_network_is_refused(self, text):
        with pytest.raises(BadNetwork):
            tokens.network(text)


@pytest.fixture
def agent(team, ada):
    return make_outside_agent(team, ada)


class TestIssuing:
    def test_only_the_fingerprint_is_kept(self, agent, ivo):
        row, text = make_token(agent, actor=ivo)

        assert re.fullmatch(r"pp_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}", text)
        assert row.sha256 == tokens.digest_of_token(text)
        assert text not in str(ApiToken.objects.values().get())
        assert text.rpartition("_")[2] not in AuditEvent.objects.get(action="token.issued").payload

    def test_it_is_an_event_that_names_the_agent_and_the_scopes(self, agent, ivo, team):
        row, _ = make_token(agent, actor=ivo)

        event = AuditEvent.objects.get(action="token.issued")
        assert (event.actor, event.object, event.team) == (ivo.actor, f"token:{row.pk}", f"team:{team.pk}")
        assert "proposals:write" in event.payload

    @pytest.mark.parametrize("who", ["ada", "ben", "cora", "olga", "eve"])
    def test_only_an_administrator_of_the_team_issues(self, request, agent, who):
        with pytest.raises(Forbidden):
            make_token(agent, actor=request.getfixturevalue(who))

        assert not ApiToken.objects.exists()

    @pytest.mark.parametrize(
        "facts",
        [
            {"days": 91},
            {"days": 0},
            {"scopes": []},
            {"scopes": ["proposals:write", "audit:read"]},
            {"scopes": ["kill:engage"]},
            {"agent_id": None},
            {"kind": "monitor", "scopes": ["slo:read"]},
            {"cidr": "office"},
        ],
    )
    def test_what_may_not_be_is_not_issued(self, agent, ivo, facts):
        with pytest.raises(BadToken, match="Nothing was issued"):
            make_token(agent, actor=ivo, **facts)

    @pytest.mark.parametrize(("kind", "scope"), [("monitor", "slo:read"), ("auditor", "audit:read")])
    def test_other_kinds_speak_for_no_agent(self, agent, ivo, kind, scope):
        row, _ = make_token(agent, actor=ivo, kind=kind, scopes=[scope], agent_id=None)

        assert row.actor == f"token:{row.pk}"


class TestRevoking:
    def test_twice_is_one_event(self, agent, ivo):
        row, _ = make_token(agent, actor=ivo)

        actions.revoke_token(row, actor=ivo)
        first = actions.revoke_token(row, actor=ivo).revoked_at

        assert ApiToken.objects.get().revoked_at == first
        assert AuditEvent.objects.filter(action="token.revoked").count() == 1

    def test_an_outsider_revokes_nothing(self, agent, eve):
        row, _ = make_token(agent)

        with pytest.raises(Forbidden):
            actions.revoke_token(row, actor=eve)

        assert ApiToken.objects.get().revoked_at is None

    def test_the_last_use_is_noted_once_a_minute(self, agent):
        row, _ = make_token(agent)

        noted = []
        for seconds in (0, 59, 60):
            row.refresh_from_db()
            actions.note_token_use(row, at=NOW + timedelta(seconds=seconds))
            noted.append(ApiToken.objects.get().last_used_at - NOW)

        assert [each.seconds for each in noted] == [0, 0, 60]


class TestThePage:
    URL = "/people/tokens/"

    def issue(self, client, row, **facts):
        return client.post(self.URL, {"name": "Refunds, production", "agent": row.pk, "days": 30, "cidr": "", **facts})

    def test_an_administrator_issues_a_token_and_sees_it_once(self, client, agent, ivo):
        client.force_login(ivo)

        page = self.issue(client, agent).content.decode()
        later = client.get(self.URL).content.decode()

        text = re.search(r"pp_[A-Za-z0-9]{8}_[A-Za-z0-9_-]{43}", page)[0]
        assert ApiToken.objects.get().sha256 == tokens.digest_of_token(text)
        assert text not in later
        assert "Refunds, production" in later

    def test_its_page_is_kept_by_nobody(self, client, agent, ivo):
        client.force_login(ivo)

        assert "no-store" in self.issue(client, agent).headers["Cache-Control"]

    @pytest.mark.parametrize(
        ("facts", "words"),
        [({"days": 91}, "90"), ({"cidr": "office"}, "is no network"), ({"agent": 0}, "Select a valid choice")],
    )
    def test_a_slip_is_explained_beside_its_field(self, client, agent, ivo, facts, words):
        client.force_login(ivo)

        page = self.issue(client, agent, **facts)

        assert page.status_code == 422
        assert words in page.content.decode()
        assert not ApiToken.objects.exists()

    def test_an_administrator_revokes(self, client, agent, ivo):
        row, _ = make_token(agent, actor=ivo)
        client.force_login(ivo)

        page = client.post(reverse("accounts:revoke_token", args=[row.pk]), follow=True).content.decode()

        assert "opens nothing any more" in page
        assert "Revoked" in page

    def test_an_auditor_reads_and_changes_nothing(self, client, agent, olga):
        row, _ = make_token(agent)
        client.force_login(olga)

        page = client.get(self.URL).content.decode()

        assert f"pp_{row.key_id}_" in page
        assert "Issue and show once" not in page
        assert self.issue(client, agent).status_code == 403
        assert client.post(reverse("accounts:revoke_token", args=[row.pk])).status_code == 403

    @pytest.mark.parametrize("who", ["ada", "ben", "cora", "dev", "max_"])
    def test_others_do_not_see_it(self, request, client, agent, who):
        client.force_login(request.getfixturevalue(who))

        assert client.get(self.URL).status_code == 403

    def test_an_outsider_sees_neither_the_token_nor_the_agent(self, client, agent, eve):
        row, _ = make_token(agent)
        client.force_login(eve)

        page = client.get(self.URL).content.decode()

        assert row.key_id not in page
        assert agent.name not in page
        assert self.issue(client, agent).status_code == 422
        assert client.post(reverse("accounts:revoke_token", args=[row.pk])).status_code == 404
