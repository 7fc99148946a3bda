from django.urls import URLPattern, URLResolver, path

from apps.agents import views

app_name = "agents"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.index, name="index"),
    path("start/", views.start, name="start"),
    path("new/", views.new, name="new"),
    path("stop/", views.stop, name="stop"),
    path("stop/<int:switch_id>/engage/", views.engage, name="engage"),
    path("stop/<int:switch_id>/release/", views.release, name="release"),
    path("<slug:slug>/", views.agent, name="agent"),
    path("<slug:slug>/versions/", views.versions, name="versions"),
]
