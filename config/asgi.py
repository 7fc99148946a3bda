import os

from django.core.asgi import get_asgi_application

from config import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_asgi_application()
# However the server was started, by the launcher or by hand: what is unsafe here serves nobody.
checks.refuse_unsafe_settings()
