"""The baseline's settings: the same Django on the same database, with three addresses and only the middleware that allauth insists on."""

from config.settings import *  # noqa: F403

MIDDLEWARE: list[str] = ["allauth.account.middleware.AccountMiddleware"]
ROOT_URLCONF = "tests.bench.inbox.bare"
