from django.urls import URLPattern, URLResolver, path

from apps.runs import views, views_compensations, views_imports

app_name = "runs"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.runs, name="runs"),
    path("<int:pk>/", views.run, name="run"),
    path("<int:pk>/cancel/", views.cancel, name="cancel"),
    path("<int:pk>/give-up/", views.give_up, name="give_up"),
    path("<int:pk>/repair/", views.repair, name="repair"),
    path("compensations/<int:proposal_id>/", views_compensations.compensation, name="compensation"),
    path("handed-over/", views.handed_over, name="handed_over"),
    path("handed-over/<int:pk>/", views.hand_over, name="hand_over"),
    path("import/", views_imports.import_work, name="import_work"),
    path("threads/", views.threads, name="threads"),
    path("agent/<int:pk>/panel/", views.agent_panel, name="agent-panel"),
]
