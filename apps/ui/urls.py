from django.urls import URLPattern, URLResolver, path

from apps.ui import views

app_name = "ui"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.home, name="home"),
    path("ui/", views.gallery, name="gallery"),
    path("ui/theme/", views.prefer, {"name": "theme"}, name="theme"),
    path("ui/density/", views.prefer, {"name": "density"}, name="density"),
    path("ui/keys/", views.prefer, {"name": "keys"}, name="keys"),
    path("ui/advance/", views.prefer, {"name": "advance"}, name="advance"),
]
