"""The pages of policies: read, explain, try, and change, without JavaScript and with htmx."""

from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from apps.accounts.models import Role
from apps.approvals.actions.policies import publish_policy
from apps.approvals.domain.policy import Conditions
from apps.approvals.models import ApprovalPolicy, Proposal
from apps.approvals.queries import dry_runs
from apps.approvals.queries import policies as queries
from apps.audit.clock import clock
from apps.audit.direct import conninfo
from tests.factories.accounts import make_member
from tests.factories.approvals import decide, make_action_type, make_agent, make_policy, make_proposal, make_version
from tests.factories.policies import rule

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
SCHEMA = {
    "type": "object",
    "required": ["amount"],
    "properties": {
        "amount": {"type": "number", "title": "Amount"},
        "count": {"type": "integer"},
        "currency": {"type": "string", "enum": ["EUR", "USD"]},
        "note": {"type": "string"},
        "urgent": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "customer": {"type": "object", "properties": {"tier": {"type": "string"}}},
    },
}
DEAR = rule("args.amount", ">=", 100, "two", "Dear ones need two.")


@pytest.fixture
def kind(team, ada):
    agent = make_agent(team, ada, max_open=1000, max_new_per_minute=1000)
    make_version(agent)
    return make_action_type(
        agent,
        key="payments.refund",
        name="Refund",
        args_schema=SCHEMA,
        editable_fields=["amount"],
        materiality={"amount": 1},
        watch_fields=[],
        consequence="Approving sends {amount}.",
    )


@pytest.fixture
def policy(kind, ada):
    return publish_policy(kind, conditions={"rules": [DEAR]}, note="First", actor=ada.actor, escalation=[], undo_s=15)


@pytest.fixture
def browse(client, kind):
    """Sign somebody in and open an address of the policy."""

    def open_page(person, path="", data=None, **options):
        client.force_login(person)
        row = queries.policy_rows(person)
        start = f"/inbox/policies/{row[0].key if row else 'gone'}/"
        return client.get(start + path, **options) if data is None else client.post(start + path, data, **options)

    return open_page


def draft(**changes):
    """Return what the form of the first version posts, with changes; None takes a field away."""
    posted = {
        "based_on": "1",
        "approvals_needed": "1",
        "auto_from_confidence": "",
        "window": "4",
        "window_unit": "h",
        "on_expiry": "expire",
        "undo_s": "15",
        "note": "Because it must be so.",
        **{f"tier_to_{place}": "on_duty" for place in range(3)},
        "rule-0-then": "two",
        "rule-0-why": "Dear ones need two.",
        "rule-0-0-field": "args.amount",
        "rule-0-0-op": ">=",
        "rule-0-0-value": "100",
        "do": "review",
        **changes,
    }
    return {name: value for name, value in posted.items() if value is not None}


def published(browse, person, **changes):
    review = browse(person, "edit/", draft(**changes))
    seal = review.context["review"]["seal"]
    return browse(person, "edit/", draft(**changes, do="publish", reviewed=seal))


def ask(kind, team, ada, amount, **fields):
    row = make_proposal(
        team, ada, agent=kind.agent, at=clock(), args={"amount": amount}, title=f"Refund {amount}", **fields
    )
    row.refresh_from_db()
    return row


class TestReading:
    @pytest.mark.parametrize("reader", ["ben", "cora", "dev", "ada", "olga", "ivo"])
    def test_everybody_who_may_see_the_agent_reads_its_policies(self, cast, client, policy, reader):
        client.force_login(cast[reader])

        listed = client.get("/inbox/policies/")
        shown = client.get(f"/inbox/policies/{policy.key}/")

        assert b"One person decides every time. Besides: 1 rule asks two people." in listed.content
        assert b"First" in listed.content
        assert b"Ada" in listed.content
        assert b"Where amount is at least 100: two people decide. Dear ones need two." in shown.content

    def test_an_executive_is_told_who_can_grant_it(self, client, policy, max_):
        client.force_login(max_)

        assert client.get("/inbox/policies/").status_code == 403
        assert client.get(f"/inbox/policies/{policy.key}/").status_code == 403

    @pytest.mark.parametrize("path", ["", "edit/", "explain/"])
    def test_an_outsider_learns_nothing(self, client, policy, eve, path):
        client.force_login(eve)
        url = f"/inbox/policies/{policy.key}/{path}"

        assert client.get(url).status_code in {404, 405}
        assert client.post(url, {"do": "publish"}).status_code in {404, 405}
        assert policy.key.encode() not in client.get("/inbox/policies/").content

    def test_what_nobody_has_written_shows_its_default(self, browse, kind, ben, ada):
        shown = browse(ben)

        assert b"Nobody has written one yet" in shown.content
        assert b"One person decides every time." in shown.content
        assert not ApprovalPolicy.objects.exists()

    @pytest.mark.parametrize("key", ["no-such-policy", "no-such-policy-999999", "x" * 30 + "-" + "9" * 19])
    def test_an_unknown_key_is_no_page(self, client, ben, kind, key):
        client.force_login(ben)

        assert client.get(f"/inbox/policies/{key}/").status_code == 404

    def test_another_name_before_the_number_of_an_action_type_is_no_page(self, client, ben, kind):
        client.force_login(ben)

        assert client.get(f"/inbox/policies/anything-{kind.pk}/").status_code == 404

    def test_each_version_says_what_it_changed(self, browse, kind, policy, ben, ada):
        make_policy(kind, conditions={}, note="Trust it", actor=ada.actor)

        shown = browse(ben)

        assert b"Lets more through" in shown.content
        assert "No longer: Where amount is at least 100: two people decide." in shown.content.decode()
        assert b"Trust it" in shown.content

    def test_an_old_version_is_shown_as_that(self, browse, kind, policy, ben):
        make_policy(kind)

        old = browse(ben, "?version=1")

        assert b"This is version 1." in old.content
        assert browse(ben, "?version=7").status_code == 404

    def test_a_version_that_cannot_be_read_says_so(self, browse, kind, policy, ben):
        ApprovalPolicy.objects.bulk_create(
            [
                ApprovalPolicy(
                    key=policy.key, version=2, name="Odd", action_type=kind, conditions={"odd": 1}, active_from=clock()
                )
            ]
        )

        assert b"Until a version that can be read is published, two people decide" in browse(ben).content
        assert browse(ben, "?tried=1").status_code == 200

    def test_prose_in_a_policy_is_escaped(self, browse, kind, ben, ada):
        make_policy(kind, note="<script>x</script>", conditions={"rules": [rule("target", "=", "<b>", "ask", "<i>")]})

        shown = browse(ben).content.decode()

        assert "<script>x" not in shown
        assert "“&lt;b&gt;”" in shown


class TestExplaining:
    def test_a_past_case_is_worked_through_rule_by_rule(self, browse, kind, policy, team, ada, ben):
        row = ask(kind, team, ada, 250)

        shown = browse(ben, f"?proposal={row.pk}").content.decode()

        assert "2 must agree." in shown
        assert "Rule 1: Dear ones need two." in shown
        assert "Amount is at least 100: found 250, yes." in shown

    def test_it_is_judged_as_the_agent_proposed_it(self, browse, kind, policy, team, ada, ben):
        row = ask(kind, team, ada, 250)
        decide(row, ben, "edit", at=None, args={"amount": 20.0})

        assert "found 250, yes." in browse(ben, f"?proposal={row.pk}").content.decode()

    @pytest.mark.parametrize("reader", ["dev", "ivo"])
    def test_who_may_not_see_cards_sees_no_arguments_here_either(self, browse, cast, kind, policy, team, ada, reader):
        row = ask(kind, team, ada, 250)

        shown = browse(cast[reader], f"?proposal={row.pk}").content

        assert b"found 250" not in shown
        assert b"Refund 250" not in shown

    def test_another_teams_case_is_not_explained(self, browse, policy, other_team, eve, ben):
        foreign = make_proposal(other_team, eve, at=clock())

        assert browse(ben, f"?proposal={foreign.pk}").status_code == 404

    def test_a_case_may_be_written_down(self, browse, policy, dev):
        shown = browse(dev, "explain/", {"args": '{"amount": 99.99}', "confidence": ""}).content.decode()

        assert "Amount is at least 100: found 99.99, no." in shown
        assert "The policy asks a person every time." in shown

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            ("{amount", "This is no JSON"),
            ('{"amount": NaN}', "This is no JSON"),
            ("[]", "Write a JSON object"),
            ('{"amount": "lots"}', "/amount: This must be a number."),
            ('{"amount": 1, "evil": 1}', "/evil"),
        ],
    )
    def test_what_cannot_be_read_is_named_and_not_lost(self, browse, policy, ben, args, said):
        response = browse(ben, "explain/", {"args": args})

        assert response.status_code == 422
        assert said in response.content.decode()
        assert response.context["form"]["args"].value() == args


class TestChanging:
    def test_nothing_is_published_before_it_was_reviewed(self, browse, policy, ada):
        for do in ("review", "publish", "anything", ""):
            response = browse(ada, "edit/", draft(do=do, approvals_needed="2"))
            assert response.status_code == 200
            assert b"Publish version 2" in response.content

        assert ApprovalPolicy.objects.count() == 1

    def test_what_was_reviewed_is_published_as_a_new_version(self, browse, policy, ada):
        response = published(browse, ada, approvals_needed="2", undo_s="30", note="Two from now on.")

        newest = ApprovalPolicy.objects.get(version=2)
        assert response.url == f"/inbox/policies/{policy.key}/"
        assert (newest.approvals_needed, newest.undo_s, newest.note) == (2, 30, "Two from now on.")
        assert (newest.author, newest.conditions, newest.window_s) == (ada.actor, {"rules": [DEAR]}, 14400)

    def test_with_htmx_the_page_is_left_the_same_way(self, browse, policy, ada):
        review = browse(ada, "edit/", draft(undo_s="30"), headers=HTMX)
        seal = review.context["review"]["seal"]
        response = browse(ada, "edit/", draft(undo_s="30", do="publish", reviewed=seal), headers=HTMX)

        assert b"<html" not in review.content
        assert response["HX-Redirect"] == f"/inbox/policies/{policy.key}/"

    def test_a_draft_changed_after_its_review_is_reviewed_again(self, browse, policy, ada):
        seal = browse(ada, "edit/", draft(undo_s="30")).context["review"]["seal"]

        response = browse(ada, "edit/", draft(undo_s="5", do="publish", reviewed=seal))

        assert b"An approval can be undone for 5 s, before 15 s." in response.content
        assert ApprovalPolicy.objects.count() == 1

    def test_what_lets_more_through_is_named_before_it_is_published(self, browse, policy, ada):
        gone = {name: None for name in draft() if name.startswith("rule-")}

        response = browse(ada, "edit/", draft(**gone, auto_from_confidence="0.9"))

        said = response.content.decode()
        assert "This lets something through that was asked before." in said
        assert "No longer: Where amount is at least 100: two people decide." in said
        assert said.count("Lets more through") == 2

    def test_a_stricter_draft_is_not_called_looser(self, browse, policy, ada):
        response = browse(ada, "edit/", draft(**{"rule-0-0-value": "50"}))

        assert b"This lets something through" not in response.content

    def test_a_draft_that_is_behind_says_so_and_is_kept(self, browse, kind, policy, ada):
        seal = browse(ada, "edit/", draft(undo_s="30")).context["review"]["seal"]
        make_policy(kind, window_s=3600)

        response = browse(ada, "edit/", draft(undo_s="30", do="publish", reviewed=seal))

        assert response.status_code == 409
        assert b"Version 2 was published while you wrote." in response.content
        assert b"People have 4 h, before 1 h." in response.content
        seal = response.context["review"]["seal"]
        browse(ada, "edit/", draft(undo_s="30", based_on="2", do="publish", reviewed=seal))
        assert ApprovalPolicy.objects.get(version=3).undo_s == 30

    @pytest.mark.parametrize("reader", ["ben", "cora", "olga"])
    def test_who_does_not_own_the_agent_may_draft_but_not_publish(self, browse, cast, policy, reader):
        seal = browse(cast[reader], "edit/", draft(undo_s="30")).context["review"]["seal"]

        assert b"Publish version" not in browse(cast[reader], "edit/", draft(undo_s="30")).content
        response = browse(cast[reader], "edit/", draft(undo_s="30", do="publish", reviewed=seal))
        assert response.status_code == 403
        assert ApprovalPolicy.objects.count() == 1

    @pytest.mark.parametrize("reader", ["dev", "ivo"])
    def test_who_may_not_see_arguments_writes_no_draft(self, browse, cast, policy, reader):
        assert browse(cast[reader], "edit/").status_code == 403
        assert browse(cast[reader], "edit/", draft(do="try")).status_code == 403

    def test_another_owner_may_not_publish(self, browse, policy, team, ada):
        otto = make_member(team, Role.AGENT_OWNER, name="Otto")
        seal = browse(otto, "edit/", draft(undo_s="30")).context["review"]["seal"]

        assert browse(otto, "edit/", draft(undo_s="30", do="publish", reviewed=seal)).status_code == 403

    def test_the_first_version_can_be_written_before_any_proposal(self, browse, kind, ada):
        assert published(browse, ada, based_on="0").status_code == 302
        assert ApprovalPolicy.objects.get().version == 1


class TestTheForm:
    @pytest.mark.parametrize(
        ("changes", "name", "said"),
        [
            ({"note": ""}, "note", "This field is required."),
            ({"approvals_needed": "0"}, "approvals_needed", "greater than or equal to 1"),
            ({"undo_s": "301"}, "undo_s", "less than or equal to 300"),
            ({"window": "59", "window_unit": "s"}, "window", "People get from 60 seconds to 30 days."),
            ({"window": "31", "window_unit": "d"}, "window", "People get from 60 seconds to 30 days."),
            ({"window": "9" * 30, "window_unit": "d"}, "window", "People get from 60 seconds to 30 days."),
            ({"on_expiry": "approve"}, "on_expiry", "Select a valid choice"),
            ({"auto_from_confidence": "1.5"}, "auto_from_confidence", "less than or equal to 1"),
            ({"approvers": "999999"}, "approvers", "Select a valid choice"),
            ({"tier_at_0": "80", "tier_at_1": "50"}, "tier_at_1", "Each call comes later"),
            ({"deny.amount": "lots"}, "deny.amount", "This must be a number."),
            ({"deny.currency": "GBP"}, "deny.currency", "Select a valid choice"),
            ({"deny.tags": "a"}, "deny.tags", "Write a JSON list"),
        ],
    )
    def test_an_error_names_its_field_and_nothing_is_lost(self, browse, policy, ada, changes, name, said):
        response = browse(ada, "edit/", draft(**changes))

        form = response.context["draft"]
        assert response.status_code == 422
        assert said in " ".join(form.plain.errors[name])
        assert form.plain["undo_s"].value() == changes.get("undo_s", "15")
        assert [each.value for each in form.rules[0].clauses] == ["100"]

    @pytest.mark.parametrize(
        ("field", "op", "value", "said"),
        [
            ("", "=", "1", "Choose what it is about."),
            ("args.gone", "=", "1", "Choose what it is about."),
            ("args.amount", "contains", "1", "Amount cannot be compared like this."),
            ("args.amount", ">=", "lots", "This must be a number."),
            ("args.amount", ">=", "NaN", "This must be a number."),
            ("args.amount", ">=", "0.123456789012345678901", "more digits"),
            ("args.count", "=", "1.5", "This must be a whole number."),
            ("args.amount", "in", "1, x", "This must be a number."),
            ("args.amount", "in", "", "Give at least one value."),
            ("args.amount", "in", '["1"]', "Each value must be a number"),
            ("args.currency", "=", "GBP", "Choose one of: EUR, USD."),
            ("args.note", "=", "", "Write a value"),
            ("args.urgent", "=", "maybe", "Choose yes or no."),
            ("risk", "=", "enormous", "Choose one of: low, medium, high."),
            ("target", "changed", "", "cannot be compared like this"),
        ],
    )
    def test_a_condition_that_cannot_be_read_is_named(self, browse, policy, ada, field, op, value, said):
        changes = {"rule-0-0-field": field, "rule-0-0-op": op, "rule-0-0-value": value}

        response = browse(ada, "edit/", draft(**changes))

        [clause] = response.context["draft"].rules[0].clauses
        assert response.status_code == 422
        assert said in clause.error
        assert (clause.field, clause.op, clause.value) == (field, op, value)
        assert said in response.content.decode().replace("&#x27;", "'")

    @pytest.mark.parametrize(
        ("field", "op", "value", "stored"),
        [
            ("args.amount", ">=", "100.50", 100.5),
            ("args.amount", ">=", "1e2", 100),
            ("args.count", "=", "3", 3),
            ("args.amount", "in", "1, 2.5", [1, 2.5]),
            ("args.currency", "in", ["EUR", "USD"], ["EUR", "USD"]),
            ("args.note", "in", '["a, b", "c"]', ["a, b", "c"]),
            ("args.note", "contains", "urgent", "urgent"),
            ("args.urgent", "=", "no", False),
            ("args.tags", "contains", "vip", "vip"),
            ("args.customer.tier", "!=", "gold", "gold"),
            ("confidence", "<", "0.5", 0.5),
        ],
    )
    def test_a_value_gets_the_type_that_the_schema_gives_it(self, browse, policy, ada, field, op, value, stored):
        changes = {"rule-0-0-field": field, "rule-0-0-op": op, "rule-0-0-value": value}

        published(browse, ada, **changes)

        [found] = ApprovalPolicy.objects.get(version=2).conditions["rules"]
        assert found["when"] == [{"field": field, "op": op, "value": stored}]

    def test_refused_values_are_typed_too(self, browse, policy, ada):
        refused = {"amount": "0, 1000.5", "currency": "USD", "note": '["a, b"]', "urgent": "[true]", "tags": '[["x"]]'}
        published(browse, ada, **{f"deny.{name}": text for name, text in refused.items()})

        assert ApprovalPolicy.objects.get(version=2).conditions["deny"] == {
            "amount": [0, 1000.5],
            "currency": ["USD"],
            "note": ["a, b"],
            "urgent": [True],
            "tags": [["x"]],
        }

    @pytest.mark.parametrize(
        ("do", "rules"),
        [
            ("add-rule", [1, 1]),
            ("add-clause:0", [2]),
            ("remove-clause:0:0", [0]),
            ("remove-rule:0", []),
            ("remove-rule:7", None),
            ("remove-rule:99999", None),
            ("remove-clause:0", None),
        ],
    )
    def test_rows_come_and_go_by_buttons_that_post(self, browse, policy, ada, do, rules):
        response = browse(ada, "edit/", draft(do=do, undo_s="77"))

        form = response.context["draft"]
        assert [len(each.clauses) for each in form.rules] == ([1] if rules is None else rules)
        assert form.plain["undo_s"].value() == "77"
        assert not form.plain.errors or rules is None

    def test_a_row_just_added_complains_only_once_it_is_reviewed(self, browse, policy, ada):
        added = browse(ada, "edit/", draft(do="add-rule"))

        assert b"Choose what it is about" not in added.content
        more = {"rule-1-then": "deny", "rule-1-why": "", "rule-1-0-field": "", "rule-1-0-op": "", "rule-1-0-value": ""}
        assert browse(ada, "edit/", draft(**more)).status_code == 422

    def test_another_field_brings_a_comparison_that_it_knows(self, browse, policy, ada):
        response = browse(ada, "edit/", draft(do="refresh", **{"rule-0-0-field": "args.currency"}))

        [clause] = response.context["draft"].rules[0].clauses
        assert (clause.op, clause.widget) == ("=", "choice")

    def test_enter_in_a_field_presses_a_button_that_changes_nothing(self, browse, policy, ada):
        page = browse(ada, "edit/").content.decode()

        assert page.index('value="refresh"') < page.index('value="remove-clause:0:0"')

    def test_the_form_of_a_version_says_what_the_version_says(self, browse, kind, policy, ada):
        everything = {
            "auto_from_confidence": 0.875,
            "deny": {"amount": [0], "currency": ["USD"], "note": ["a, b"], "tags": [["x"]]},
            "rules": [
                DEAR,
                rule("args.note", "in", ["a, b", "[c"], "ask"),
                rule("args.urgent", "=", False, "deny"),
                rule("args.tags", "is empty", then="alone"),
                rule("args.amount", "in", [1, 2.5], "two"),
                rule("args.currency", "not in", ["USD"], "two"),
            ],
        }
        tiers = [{"at": 0.125, "to": "deputy"}, {"at": 0.9, "to": "lead"}]
        make_policy(kind, conditions=everything, approvers=[], escalation=tiers, window_s=90, on_expiry="extend_once")

        page = browse(ada, "edit/")
        form = page.context["draft"]
        posted = _as_posted(form)
        review = browse(ada, "edit/", {**posted, "note": "The same", "do": "review"})

        assert review.status_code == 200
        assert review.context["review"]["changes"] == ()

    def test_named_approvers_are_published(self, browse, policy, ada, ben, team):
        kim = make_member(team, Role.REVIEWER, name="Kim")
        published(browse, ada, approvers=[str(ben.pk), str(kim.pk)])

        assert ApprovalPolicy.objects.get(version=2).approvers == {"people": [ben.pk, kim.pk]}

    def test_too_few_names_are_refused_beside_the_names(self, browse, policy, ada, ben):
        response = published(browse, ada, approvers=[str(ben.pk)])

        assert response.status_code == 422
        assert "name at least 2" in " ".join(response.context["draft"].plain.errors["approvers"])


def _as_posted(form):
    """Return what a browser would post of the form as it stands."""
    posted = {"based_on": form.plain["based_on"].value()}
    for name in form.plain.fields:
        value = form.plain[name].value()
        if value is not None:
            posted[name] = value
        elif name.startswith("tier_to"):
            # A browser posts the first choice of a list in which nothing was chosen.
            posted[name] = "on_duty"
    for number, row in enumerate(form.rules):
        posted |= {f"rule-{number}-then": row.then, f"rule-{number}-why": row.why}
        for place, clause in enumerate(row.clauses):
            start = f"rule-{number}-{place}"
            posted |= {f"{start}-field": clause.field, f"{start}-op": clause.op}
            if clause.widget == "choices":
                posted[f"{start}-value"] = [each for each, chosen in clause.choices if chosen]
            elif clause.widget != "none":
                posted[f"{start}-value"] = clause.value
    return posted


class TestDryRun:
    @pytest.fixture
    def history(self, kind, policy, team, ada, ben):
        """Refunds of 10, 50 and 300: approved, rejected and changed by people; one of 20 nobody decided."""
        approved, rejected, edited = (ask(kind, team, ada, amount, confidence=0.95) for amount in (10, 50, 60))
        ask(kind, team, ada, 20, confidence=0.95)
        decide(approved, ben, at=None)
        decide(rejected, ben, "reject", at=None)
        decide(edited, ben, "edit", at=None, args={"amount": 30.0})
        return approved, rejected, edited

    @pytest.fixture
    def locked(self, monkeypatch):
        """Let somebody else hold the table that the count reads, so that its query waits."""
        monkeypatch.setattr(dry_runs, "QUERY_WITHIN_MS", 200)
        # Any other query that met the lock would fail, not hang.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '3s'")
        with psycopg.connect(conninfo(connection.settings_dict, application_name="test")) as other:
            other.execute("SET LOCAL lock_timeout = '3s'")
            other.execute("LOCK TABLE approvals_decision IN ACCESS EXCLUSIVE MODE")
            yield
            other.rollback()

    def run(self, reader, kind, conditions, in_force=None):
        page = queries.policy_page(reader, ApprovalPolicy.objects.first().key)
        stored = page.in_force.terms
        tried = type(stored)(
            **{name: getattr(stored, name) for name in stored.__slots__} | {"conditions": Conditions.parse(conditions)}
        )
        return dry_runs.dry_run(reader, page.action_type, tried, stored)

    def test_it_counts_outcomes_beside_what_people_decided(self, kind, history, ben):
        run = self.run(ben, kind, {"auto_from_confidence": 0.9, "rules": [rule("args.amount", ">=", 60, "deny")]})

        table = {
            each.outcome: (each.before, each.after, each.approved, each.edited, each.rejected, each.other)
            for each in run.tallies
        }
        assert table == {
            "deny": (0, 1, 0, 1, 0, 0),
            "two": (0, 0, 0, 0, 0, 0),
            "one": (4, 0, 0, 0, 0, 0),
            "alone": (0, 3, 1, 0, 1, 1),
        }
        assert (run.cases, run.is_cut, run.stricter, run.looser) == (4, False, 1, 3)

    def test_it_names_what_would_run_alone_although_a_person_said_no(self, kind, history, ben):
        run = self.run(ben, kind, {"auto_from_confidence": 0.9})

        assert run.dangerous == 2
        assert {(each.id, each.decided) for each in run.dangerous_cases} == {
            (history[1].pk, "rejected"),
            (history[2].pk, "edited"),
        }

    def test_it_names_what_would_be_refused_although_a_person_agreed(self, kind, history, ben):
        run = self.run(ben, kind, {"rules": [rule("args.amount", "<", 55, "deny", "Too small.")]})

        [case] = run.needless_cases
        assert (run.needless, case.id, case.why) == (1, history[0].pk, "Rule 1: Too small.")

    def test_a_drill_and_advice_are_not_counted(self, kind, history, ben):
        Proposal.objects.filter(state="pending").update(kind="drill", executable=False)

        assert self.run(ben, kind, {}).cases == 3

    def test_older_cases_are_not_counted(self, kind, policy, team, ada, ben):
        make_proposal(team, ada, agent=kind.agent, at=clock() - timedelta(days=31), args={"amount": 5})

        assert self.run(ben, kind, {}).cases == 0

    def test_it_stops_at_as_many_as_it_may_and_says_so(self, kind, history, ben, monkeypatch):
        monkeypatch.setattr(dry_runs, "MOST_CASES", 2)

        run = self.run(ben, kind, {})

        assert (run.cases, run.is_cut) == (2, True)

    def test_it_stops_when_it_takes_too_long_and_says_so(self, kind, history, ben, monkeypatch):
        monkeypatch.setattr(dry_runs, "LONGEST_S", -1.0)

        run = self.run(ben, kind, {})

        assert (run.cases, run.is_cut) == (0, True)

    def test_a_query_that_takes_too_long_is_stopped_and_the_limit_ends_with_it(self, kind, policy, ben, locked):
        with pytest.raises(dry_runs.TooSlow):
            self.run(ben, kind, {})

        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() == ("0",)

    def test_whoever_waits_for_the_count_is_told_that_it_was_stopped(self, browse, policy, dev, locked):
        page = browse(dev, "?tried=1")

        assert (page.status_code, "so it was stopped. Nothing changed." in page.content.decode()) == (200, True)

    def test_whoever_tries_a_draft_keeps_it_and_is_told_that_it_was_stopped(self, browse, policy, ada, locked):
        page = browse(ada, "edit/", draft(do="try", auto_from_confidence="0.9"))

        said = page.content.decode()
        assert (page.status_code, "so it was stopped. Nothing changed." in said) == (409, True)
        assert 'value="0.9"' in said

    def test_the_draft_is_tried_from_its_form_and_not_stored(self, browse, history, ada):
        response = browse(ada, "edit/", draft(do="try", auto_from_confidence="0.9"))

        said = response.content.decode()
        assert response.status_code == 200
        assert "2 would now run alone although a person rejected or changed them." in said
        assert "Refund 50" in said
        assert ApprovalPolicy.objects.count() == 1

    def test_a_published_version_is_counted_for_every_reader_but_cases_only_for_some(
        self, browse, kind, history, dev, ben
    ):
        make_policy(kind, conditions={"auto_from_confidence": 0.9})

        for reader, sees in ((dev, False), (ben, True)):
            said = browse(reader, "?tried=1").content.decode()
            assert "2 would now run alone" in said
            assert ("Refund 50" in said) is sees

    def test_a_stranger_to_the_arguments_gets_no_case_from_the_query_either(self, kind, history, dev):
        run = self.run(dev, kind, {"auto_from_confidence": 0.9})

        assert (run.dangerous, run.dangerous_cases, run.may_see_cases) == (2, (), False)
