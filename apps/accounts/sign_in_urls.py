"""The doors of sign-in, under the names that allauth expects. No mail server is assumed: no page here sends mail."""

from allauth.account import views as allauth_views
from django.urls import URLPattern, URLResolver, path

from apps.accounts import views

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", views.sign_in, name="account_login"),
    path("logout/", allauth_views.logout, name="account_logout"),
    path("reauthenticate/", views.sign_in_again, name="account_reauthenticate"),
    path("inactive/", allauth_views.account_inactive, name="account_inactive"),
    path("password/change/", views.change_password, name="account_change_password"),
]
