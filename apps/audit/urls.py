from django.urls import URLPattern, URLResolver, path

from apps.audit import views

app_name = "audit"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", views.search, name="search"),
    path("events/<int:event_id>/", views.event, name="event"),
]
