from django.urls import path

from apps.programs import views

app_name = "programs"
urlpatterns = [
    path("programs/", views.programs, name="programs"),
    path("programs/new/", views.new_program, name="new"),
    path("programs/<int:pk>/", views.program, name="program"),
    path("programs/<int:pk>/read/", views.read_gates, name="read"),
    path("programs/<int:pk>/advance/", views.advance, name="advance"),
    path("programs/gates/<int:pk>/", views.gate, name="gate"),
    path("programs/gates/<int:pk>/start/", views.start, name="start"),
    path("programs/gates/<int:pk>/evidence/", views.evidence, name="evidence"),
    path("programs/gates/<int:pk>/submit/", views.submit, name="submit"),
    path("programs/gates/<int:pk>/sign/", views.sign, name="sign"),
    path("programs/gates/<int:pk>/refuse/", views.refuse, name="refuse"),
    path("programs/panels/agent/<int:pk>/", views.agent_panel, name="agent-panel"),
    path("portfolio/", views.portfolio, name="portfolio"),
    path("portfolio/stages.json", views.portfolio_chart, name="portfolio-chart"),
]
