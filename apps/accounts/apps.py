from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """People, teams, roles and how they sign in."""

    name = "apps.accounts"
    label = "accounts"

    def ready(self) -> None:
        from allauth.account.signals import authentication_step_completed
        from django.contrib.auth import signals

        from apps.accounts import queries, sign_ins
        from apps.audit import names
        from apps.ui import navigation

        signals.user_logged_in.connect(sign_ins.signed_in, dispatch_uid="accounts.signed_in")
        authentication_step_completed.connect(sign_ins.shown_again, dispatch_uid="accounts.shown_again")
        signals.user_logged_out.connect(sign_ins.signed_out, dispatch_uid="accounts.signed_out")
        signals.user_login_failed.connect(sign_ins.sign_in_failed, dispatch_uid="accounts.sign_in_failed")
        names.register("user", queries.names_of_people)
        names.register("token", queries.names_of_tokens)
        names.register("team", queries.names_of_teams)
        navigation.register(
            navigation.Item(label="People", url_name="accounts:people", icon="users", right="people.view", order=110)
        )
