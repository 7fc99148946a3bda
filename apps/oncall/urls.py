from django.urls import URLPattern, URLResolver, path

from apps.oncall import views

app_name = "oncall"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.index, name="index"),
    path("teams/<int:team_id>/", views.rotation, name="rotation"),
    path("teams/<int:team_id>/answers/", views.team_panel, name="team_panel"),
    path("agents/<int:agent_id>/answers/", views.agent_panel, name="agent_panel"),
]
