from django.urls import path

from apps.approvals.views import cards, history, inbox, outcomes

app_name = "approvals"
urlpatterns = [
    path("", inbox.inbox, name="inbox"),
    path("queue/", inbox.queue, name="queue"),
    path("changes/", inbox.changes, name="changes"),
    path("history/", history.history, name="history"),
    path("reconcile/", outcomes.reconcile_list, name="reconcile"),
    path("<int:pk>/", cards.card, name="card"),
    path("<int:pk>/claim/", cards.claim, name="claim"),
    path("<int:pk>/release/", cards.release, name="release"),
    path("<int:pk>/decide/", cards.decide, name="decide"),
    path("<int:pk>/undo/", cards.undo, name="undo"),
    path("<int:pk>/reconcile/", outcomes.reconcile, name="reconcile-one"),
]
