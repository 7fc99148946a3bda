"""Celery's beat without the tasks: it only sends names on time, and the agents' libraries would cost it 130 MB."""

import signal
import sys
from types import FrameType

from celery.beat import Service
from django.conf import settings

from config import logs
from config.celery import app


def main() -> None:
    logs.configure(settings.LOGGING | {"level": "WARNING"})
    signal.signal(signal.SIGTERM, _end)
    Service(app, schedule_filename=sys.argv[1]).start()


def _end(number: int, frame: FrameType | None) -> None:
    # The service saves its schedule on the way out.
    sys.exit(0)


if __name__ == "__main__":
    main()
