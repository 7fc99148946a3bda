from django.urls import URLPattern, URLResolver, path

from apps.agents import views, views_outside

app_name = "agents"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.index, name="index"),
    path("start/", views.start, name="start"),
    path("new/", views.new, name="new"),
    path("outside/", views_outside.new_outside, name="new_outside"),
    path("stop/", views.stop, name="stop"),
    path("stop/<int:switch_id>/engage/", views.engage, name="engage"),
    path("stop/<int:switch_id>/release/", views.release, name="release"),
    path("<slug:slug>/", views.agent, name="agent"),
    path("<slug:slug>/versions/", views.versions, name="versions"),
    path("<slug:slug>/actions/", views_outside.action_types, name="action_types"),
    path("<slug:slug>/releases/", views_outside.releases, name="releases"),
    path("<slug:slug>/connect/", views_outside.connect, name="connect"),
]
