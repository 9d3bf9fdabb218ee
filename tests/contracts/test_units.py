"""The formats of this distribution keep the contract of a format."""

from __future__ import annotations

import pytest

from multi import units
from multi.testing.units import UnitContract
from multi.units.base import UnitFormat


@pytest.mark.parametrize("name", units.names())
class TestOurs(UnitContract):
    @pytest.fixture
    def format(self, name: str) -> UnitFormat:
        return units.find(name)
