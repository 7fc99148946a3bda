from django.urls import path

from apps.slo import views

app_name = "slo"
urlpatterns = [
    path("", views.overview, name="fleet"),
    path("<uuid:line_id>/", views.objective, name="objective"),
    path("<uuid:line_id>/burn-down.json", views.burn_down, name="burn-down"),
    path("panels/agent/<int:pk>/", views.agent_panel, name="agent-panel"),
    path("panels/proposal/<int:pk>/", views.proposal_panel, name="proposal-panel"),
]
