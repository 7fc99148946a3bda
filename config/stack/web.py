"""What the web server serves when it is started from here: the same application, and no worker outlives its server."""

from config.asgi import application
from config.stack import children

__all__ = ["application"]

# A server killed by -9 must not leave a worker that answers the next start with old code.
children.die_with_parent()
