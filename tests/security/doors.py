"""Every address of the house, found by walking the URLconf, so that a new one is under test the day it is written."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.converters import IntConverter, UUIDConverter

from tests.security.objects import FILLED_IN, OBJECTS, World

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Door:
    """One address: its pattern as written, its name and its parameters."""

    route: str
    name: str
    converters: tuple[tuple[str, Any], ...]
    view: Any

    def __str__(self) -> str:
        return f"{self.name or 'unnamed'} at /{self.route}"

    @property
    def parameters(self) -> list[str]:
        return [name for name, _ in self.converters]

    def path(self, world: World) -> str:
        """Return the address of an object of the team; fails by name if nobody said how to make one."""
        path = "/" + self.route
        for name, _ in self.converters:
            before, _, after = path.partition("<")
            path = before + str(self._value(name, world)) + after.partition(">")[2]
        return path

    def somewhere(self) -> str:
        """Return the address of some object that need not exist."""
        path = "/" + self.route
        for name, converter in self.converters:
            before, _, after = path.partition("<")
            path = before + str(FILLED_IN.get(self.name, {}).get(name) or _sample(converter)) + after.partition(">")[2]
        return path

    def _value(self, parameter: str, world: World) -> Any:
        if self.name in FILLED_IN:
            return FILLED_IN[self.name][parameter]
        key = f"{self.name} {parameter}"
        keys = (key, f"{self.name.rpartition(':')[0]} {parameter}", parameter)
        make = next((OBJECTS[each] for each in keys if each in OBJECTS), None)
        if make is None:
            pytest.fail(
                f"{self}: nobody said how to make an object for <{parameter}>. Add {key!r} or {parameter!r} to OBJECTS"
                " in tests/security/objects.py, or name the address in NOT_OF_A_TEAM and FILLED_IN with the reason."
            )
        if make not in world.made:
            world.made[make] = make(world)
        return world.made[make]


def all_doors() -> list[Door]:
    return sorted(_walk(get_resolver(), "", "", ()), key=lambda door: door.route)


def _walk(resolver: URLResolver, route: str, namespace: str, converters: tuple) -> Iterator[Door]:
    for pattern in resolver.url_patterns:
        here = route + str(pattern.pattern)
        known = (*converters, *pattern.pattern.converters.items())
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from _walk(pattern, here, inner, known)
        elif isinstance(pattern, URLPattern):
            yield Door(here, f"{namespace}{pattern.name}" if pattern.name else "", known, pattern.callback)


def _sample(converter: Any) -> Any:
    if isinstance(converter, IntConverter):
        return 999_999_999
    if isinstance(converter, UUIDConverter):
        return uuid.UUID(int=1)
    return "nothing"


DOORS = all_doors()
each_door = pytest.mark.parametrize("door", DOORS, ids=[door.name or door.route for door in DOORS])
OF_OBJECTS = [door for door in DOORS if door.parameters]
each_door_of_an_object = pytest.mark.parametrize(
    "door", OF_OBJECTS, ids=[door.name or door.route for door in OF_OBJECTS]
)
