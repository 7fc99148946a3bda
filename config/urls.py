"""Every door of the house. Each app owns its prefix."""

from django.urls import URLPattern, URLResolver, include, path

from config import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("", include("apps.ui.urls")),
    path("", include("apps.accounts.urls")),
    path("accounts/", include("apps.accounts.sign_in_urls")),
    path("audit/", include("apps.audit.urls")),
    path("agents/", include("apps.agents.urls")),
    path("oncall/", include("apps.oncall.urls")),
    path("connectors/", include("apps.connectors.urls")),
    path("inbox/", include("apps.approvals.urls")),
    path("runs/", include("apps.runs.urls")),
    path("slo/", include("apps.slo.urls")),
    path("", include("apps.programs.urls")),
    path("api/v1/", include("apps.api.urls")),
    path("demo/", include("apps.demo.urls")),
]
