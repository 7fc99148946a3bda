from django.urls import URLPattern, URLResolver, path

from apps.connectors import views

app_name = "connectors"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.systems, name="systems"),
    path("connect/", views.connect, name="connect"),
    path("system/<slug:key>/", views.system, name="system"),
    path("system/<slug:key>/test/", views.test, name="test"),
    path("system/<slug:key>/address/", views.move, name="move"),
    path("system/<slug:key>/credential/", views.credential, name="credential"),
    path("system/<slug:key>/networks/", views.grant, name="grant"),
    path("system/<slug:key>/networks/withdraw/", views.withdraw, name="withdraw"),
]
