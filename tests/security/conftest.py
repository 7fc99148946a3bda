import pytest

from tests.security.objects import make_world


@pytest.fixture
def world(team):
    return make_world(team)
