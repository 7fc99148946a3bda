"""One settings file, in Django's own order of sections. Every value from outside has a typed reader; README lists them all."""

import logging
import os
from importlib.resources import files
from pathlib import Path

from csp.constants import NONE, SELF

from config import env

# LangGraph reads this before it is imported: checkpoints may not build arbitrary objects.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / ".var")))

# Core
DEBUG = env.boolean("DEBUG", default=False)
DEMO = env.boolean("DEMO", default=False)
SECRET_KEY = env.text("SECRET_KEY")
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", f"{HOST},localhost,127.0.0.1")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
# Plain http is for this machine only: cookies lose `Secure` and HSTS is not sent. A system check refuses it elsewhere.
PLAIN_HTTP = env.boolean("PLAIN_HTTP", default=False)
# Answers /healthz with this, so that a starter can tell its own process from an older one.
START_ID = env.text("START_ID", "")

INSTALLED_APPS = [
    "config",
    "apps.demo",
    "apps.api",
    "apps.programs",
    "apps.slo",
    "apps.runs",
    "apps.approvals",
    "apps.oncall",
    "apps.connectors",
    "apps.agents",
    "apps.accounts",
    "apps.audit",
    "apps.ui",
    "allauth",
    "allauth.account",
    "csp",
    "django_htmx",
    "django_structlog",
    "lucide",
    "ninja",
    "pgtrigger",
    "template_partials",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "apps.ui.middleware.SecurityHeaders",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "apps.ui.middleware.SameOriginOnly",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "apps.ui.middleware.HtmxAnswers",
    "apps.accounts.middleware.OwnTimeZone",
    "apps.accounts.middleware.RefusalsAreRecorded",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "apps.ui.context.page",
            ],
            "builtins": ["apps.ui.templatetags.ui"],
        },
    }
]

# Database
DATABASES = {
    "default": {
        **env.database("DATABASE_URL", "postgresql:///pastpilot"),
        "CONN_HEALTH_CHECKS": True,
        "TEST": {"NAME": env.text("TEST_DATABASE_NAME", "") or None},
    }
}
if env.boolean("DATABASE_POOL", default=False):
    # Only the web process: a pool opened before a prefork is shared by mistake.
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": 1,
        "max_size": env.integer("DATABASE_POOL_SIZE", 10),
        "timeout": 10,
    }
else:
    DATABASES["default"]["CONN_MAX_AGE"] = env.integer("DATABASE_CONN_MAX_AGE", 60)
# Behind a pooler that hands out a connection per transaction: the way around it, for locks that a session holds.
DIRECT_DATABASE = env.database("DIRECT_DATABASE_URL", "postgresql:///") if env.text("DIRECT_DATABASE_URL", "") else None
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Cache: one process's memory, for templates and icons only. Nothing that decides anything is cached.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# People
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["apps.accounts.backends.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "ui:home"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "apps.accounts.adapter.AccountAdapter"

# Sessions, cookies and headers: rules S1 and S4
_HOST_PREFIX = "" if PLAIN_HTTP else "__Host-"
SESSION_COOKIE_NAME = f"{_HOST_PREFIX}sessionid"
CSRF_COOKIE_NAME = f"{_HOST_PREFIX}csrftoken"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not PLAIN_HTTP
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = not PLAIN_HTTP
# A balancer and our own launcher ask these two from beside the process, without TLS.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = 0 if PLAIN_HTTP else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not PLAIN_HTTP
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.boolean("BEHIND_TLS_PROXY", default=False) else None
)
# How many proxies of ours a request passes: behind them the caller's address stands in X-Forwarded-For. It is what the
# networks of tokens are compared with, and what slows down whoever guesses passwords.
TRUSTED_PROXIES = ALLAUTH_TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXIES", 0)
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# Language and time
LANGUAGE_CODE = "en"
TIME_ZONE = env.text("TIME_ZONE", "UTC")
USE_I18N = False
USE_TZ = True

# Static files
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "apps.ui.finders.PlotlyFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": env.text("STATICFILES_BACKEND", "apps.ui.storage.HashedStaticFiles")},
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
# The one chart script that pages load; a smaller plotly.js bundle may stand here.
PLOTLY_BUNDLE = env.text("PLOTLY_BUNDLE", str(files("plotly") / "package_data" / "plotly.min.js"))
MEDIA_ROOT = VAR_DIR / "media"
FILE_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
# One import file (work items or precedents) may be this large.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# Messages: without a mail server no e-mail leaves, and channels of that kind say so on their page.
PUBLIC_URL = env.text("PUBLIC_URL", f"{'http' if PLAIN_HTTP else 'https'}://{HOST}:{PORT}").rstrip("/")
EMAIL_HOST = env.text("EMAIL_HOST", "")
EMAIL_PORT = env.integer("EMAIL_PORT", 587)
EMAIL_HOST_USER = env.text("EMAIL_USER", "")
EMAIL_HOST_PASSWORD = env.text("EMAIL_PASSWORD", "")
_EMAIL_TLS = env.one_of("EMAIL_TLS", "starttls", ("starttls", "tls", "none"))
EMAIL_USE_TLS = _EMAIL_TLS == "starttls"
EMAIL_USE_SSL = _EMAIL_TLS == "tls"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", "pastpilot@localhost")

# Work
CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")

# Agents
AGENT_MODEL = env.text("AGENT_MODEL", "precedent")
# 32 bytes, base64: seals stored credentials of outside systems.
CREDENTIAL_KEY = env.text("CREDENTIAL_KEY", "")

# The demo's simulated ticket desk, a process of its own
DESK_PORT = env.integer("DESK_PORT", 8100)
DESK_STORE = Path(env.text("DESK_STORE", str(VAR_DIR / "desk")))
DESK_API_KEY = env.text("DESK_API_KEY", "")

# Logs: JSON lines with request ids; control characters are escaped by the renderer.
LOG_FORMAT = env.text("LOG_FORMAT", "json")
LOGGING_CONFIG = "config.logs.configure"
LOGGING = {"level": env.text("LOG_LEVEL", "INFO"), "format": LOG_FORMAT}
# Whoever closes a page ends its stream: that is no trouble.
DJANGO_STRUCTLOG_REQUEST_CANCELLED_LOG_LEVEL = logging.INFO

FORMS_URLFIELD_ASSUME_HTTPS = True
SILENCED_SYSTEM_CHECKS: list[str] = []
