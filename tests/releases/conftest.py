"""What the tests of this room share."""

from __future__ import annotations

import pytest
from release_desk import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()
