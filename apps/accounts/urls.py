from django.urls import URLPattern, URLResolver, path

from apps.accounts import views

app_name = "accounts"
urlpatterns: list[URLPattern | URLResolver] = [
    path("start/", views.start, name="start"),
    path("welcome/<str:number>/<str:token>/", views.welcome, name="welcome"),
    path("me/", views.me, name="me"),
    path("people/", views.people, name="people"),
    path("people/invite/", views.invite, name="invite"),
    path("people/teams/", views.create_team, name="create_team"),
    path("people/tokens/", views.tokens, name="tokens"),
    path("people/tokens/<int:token_id>/revoke/", views.revoke_token, name="revoke_token"),
    path("people/<int:person_id>/", views.person, name="person"),
    path("people/<int:person_id>/grant/", views.grant, name="grant"),
    path("people/<int:person_id>/deactivate/", views.deactivate, name="deactivate"),
    path("people/<int:person_id>/reactivate/", views.reactivate, name="reactivate"),
    path("people/<int:person_id>/link/", views.make_link, name="make_link"),
    path("people/roles/<int:membership_id>/revoke/", views.revoke, name="revoke"),
]
