"""The baseline's settings: the same Django on the same database, with no middleware and three addresses."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS as ALL_APPS

# allauth starts only with its middleware, and the baseline has none.
INSTALLED_APPS = [each for each in ALL_APPS if not each.startswith("allauth")]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "tests.bench.inbox.bare"
