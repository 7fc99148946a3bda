from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.conf import settings

from apps.accounts.domain.rights import RIGHTS, teams_with
from apps.accounts.models import User


class RoleBackend(AuthenticationBackend):  # type: ignore[misc]  # allauth ships no types
    """Sign-in by e-mail and password; rights from roles, as `user.has_perm("approvals.decide", team_id)`."""

    def get_user(self, user_id: Any) -> User | None:
        """Return the person of a session. The demo's cast ends with the demo: its sessions cost one click, no password."""
        user: User | None = super().get_user(user_id)
        return None if user is not None and user.is_demo and not settings.DEMO else user

    def has_perm(self, user_obj: Any, perm: str, obj: int | None = None) -> bool:
        """Say whether the right holds in the team; without a team, in any of the person's teams."""
        teams = teams_with(perm, user_obj.roles_by_team if isinstance(user_obj, User) else {})
        return bool(teams) if obj is None else obj in teams

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return any(self.has_perm(user_obj, right) for right in RIGHTS if right.startswith(f"{app_label}."))
