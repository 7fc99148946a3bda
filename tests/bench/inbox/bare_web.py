"""The baseline's application: Django's own, without the checks that ours makes before it serves."""

from django.core.asgi import get_asgi_application

from config.stack import children

application = get_asgi_application()
children.die_with_parent()
