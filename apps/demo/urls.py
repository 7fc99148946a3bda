from django.urls import path

from apps.demo import views

app_name = "demo"
urlpatterns = [
    path("logins/", views.logins, name="logins"),
    path("sign-in/<int:pk>/", views.sign_in, name="sign-in"),
]
