from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth import get_backends
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone
from django.utils.functional import cached_property

from apps.accounts.domain.rights import teams_with


class Role(models.TextChoices):
    """The seven roles. A right holds only inside the team of the membership."""

    REVIEWER = "reviewer", "Reviewer"
    OPERATOR = "operator", "Operator"
    TPM = "tpm", "Program manager"
    EXECUTIVE = "executive", "Executive"
    AGENT_OWNER = "agent_owner", "Agent owner"
    AUDITOR = "auditor", "Auditor"
    ADMIN = "admin", "Administrator"


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: object) -> "User":
        """Create a person; without a password they cannot sign in with one."""
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """A person. There is no superuser flag: every right comes from a Membership."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=120)
    is_active = models.BooleanField(default=True)
    is_demo = models.BooleanField(
        default=False, db_comment="Part of the demo's cast; may be offered as a one-click login."
    )
    time_zone = models.CharField(max_length=64, default="UTC")
    wants_mail = models.BooleanField(
        default=True, db_default=True, db_comment="Whether messages about cards go to this address."
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = ["name"]

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def actor(self) -> str:
        """The pseudonym by which the audit log knows this person."""
        return f"user:{self.pk}"

    @cached_property
    def roles_by_team(self) -> Mapping[int, frozenset[str]]:
        """Return the roles by team id: one query per object, so one per request; none for a deactivated person."""
        roles: dict[int, frozenset[str]] = {}
        if self.is_active and self.pk:
            for team_id, role in self.memberships.values_list("team_id", "role"):
                roles[team_id] = roles.get(team_id, frozenset()) | {role}
        return roles

    def has_perm(self, right: str, team_id: int | None = None) -> bool:
        """Say whether the right holds in the team; without a team, in any of the person's teams."""
        return any(backend.has_perm(self, right, team_id) for backend in _backends())

    def team_ids_with(self, right: str) -> frozenset[int]:
        """Return the teams in which the right holds; floors below know people by this and by has_perm alone."""
        return teams_with(right, self.roles_by_team)

    def has_module_perms(self, app_label: str) -> bool:
        """Say whether the person holds any right of an app; templates ask this as `perms.audit`."""
        return any(backend.has_module_perms(self, app_label) for backend in _backends())


class Team(models.Model):
    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120, unique=True)
    purpose = models.CharField(max_length=200, blank=True)
    lead = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    deputy_team = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "team", "role"], name="one_membership_per_role_and_team")
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.get_role_display()} in {self.team}"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def live(self, at: datetime) -> "ApiTokenQuerySet":
        return self.filter(revoked_at__isnull=True, expires_at__gt=at)


class ApiToken(models.Model):
    """What a program signs in with (S7). Only its SHA-256 is kept; the text is shown once."""

    class Kind(models.TextChoices):
        AGENT = "agent", "Agent"
        MONITOR = "monitor", "Monitor"
        AUDITOR = "auditor", "Auditor"

    kind = models.CharField(max_length=8, choices=Kind, default=Kind.AGENT)
    name = models.CharField(max_length=80)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="+")
    agent_id_value = models.BigIntegerField(
        null=True, db_comment="agents.Agent.id that it speaks for; a value, as agents stands higher."
    )
    key_id = models.CharField(max_length=8, unique=True, db_comment="The part that may be shown: pp_<key_id>_…")
    sha256 = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    cidr = models.CharField(max_length=50, blank=True, db_comment="The only network it may come from; empty: any.")
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(kind="agent") | models.Q(agent_id_value__isnull=False),
                name="an_agents_token_names_its_agent",
            )
        ]
        indexes = [models.Index(fields=["team", "-created_at"], name="api_tokens_by_team")]

    def __str__(self) -> str:
        return self.name

    @property
    def actor(self) -> str:
        """The pseudonym by which the audit log knows whom it speaks for."""
        return f"agent:{self.agent_id_value}" if self.kind == self.Kind.AGENT else f"token:{self.pk}"

    def state(self, at: datetime) -> str:
        """Say whether it still opens anything: live, revoked or expired."""
        if self.revoked_at is not None:
            return "revoked"
        return "live" if self.expires_at > at else "expired"


def _backends() -> list[Any]:
    """Return the backends; our rights hold in a team's id, where Django's types expect a model's row."""
    return list(get_backends())
