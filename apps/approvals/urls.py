from django.urls import path

from apps.approvals import views

app_name = "approvals"
urlpatterns = [
    path("", views.inbox, name="inbox"),
    path("queue/", views.queue, name="queue"),
    path("changes/", views.changes, name="changes"),
    path("history/", views.history, name="history"),
    path("reconcile/", views.reconcile_list, name="reconcile"),
    path("<int:pk>/", views.card, name="card"),
    path("<int:pk>/claim/", views.claim, name="claim"),
    path("<int:pk>/release/", views.release, name="release"),
    path("<int:pk>/decide/", views.decide, name="decide"),
    path("<int:pk>/undo/", views.undo, name="undo"),
    path("<int:pk>/reconcile/", views.reconcile, name="reconcile-one"),
]
