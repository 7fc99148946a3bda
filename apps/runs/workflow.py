"""Finds the parts of a workflow by its name; without LangChain, so that every process may ask."""

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from apps.runs import workflows


class UnknownWorkflow(LookupError):
    """An agent names a workflow that is not installed."""


@cache
def part(workflow: str, name: str) -> ModuleType:
    """Return apps.runs.workflows.<workflow>.<name>. The name comes from a row, so only packages that exist here count."""
    known = {each.name for each in pkgutil.iter_modules(workflows.__path__)}
    if workflow not in known:
        raise UnknownWorkflow(f"There is no workflow {workflow!r}; there are: {', '.join(sorted(known))}.")
    return importlib.import_module(f"{workflows.__name__}.{workflow}.{name}")
