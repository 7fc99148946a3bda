import os
from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, register


@register()
def checkpoints_build_no_objects(app_configs: Sequence[Any] | None, **options: Any) -> list[CheckMessage]:
    """R13: whoever can write a checkpoint must not be able to run code where it is read."""
    if os.environ.get("LANGGRAPH_STRICT_MSGPACK", "").lower() in {"1", "true", "yes"}:
        return []
    return [
        Error(
            "LANGGRAPH_STRICT_MSGPACK is switched off: a forged checkpoint could run code in a worker.",
            hint="Remove the variable from the environment, or set it to true.",
            id="runs.E001",
        )
    ]
