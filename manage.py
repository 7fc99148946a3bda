#!/usr/bin/env python3
"""Run a management command; without DATABASE_URL it joins, or starts, the embedded servers."""

import os
import sys

from config.stack import embedded
from config.stack.terminal import Trouble


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        with embedded.servers():
            from django.core.management import execute_from_command_line

            execute_from_command_line(sys.argv)
    except Trouble as trouble:
        sys.exit(str(trouble))


if __name__ == "__main__":
    main()
