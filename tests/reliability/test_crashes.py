"""A run that is killed before, after, or without hearing of, each step that changes something."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine.stores.retry import Retry
from tests.faults import FaultyWire
from tests.reliability.crash_scenes import MORE, NOTHING, OTHER, SAME, Scene, Stage, die_at_every_step
from tests.reliability.dying import (
    AFTER,
    BEFORE,
    HALF,
    LOST,
    Death,
    DyingStore,
    dies_on_disk,
    dies_on_the_wire,
)
from tests.reliability.editions import VERSIONED
from tests.servers import Bucket

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        yield Stage(str(tmp_path), dies_on_disk(patch, str(tmp_path)))


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("prior", [NOTHING, SAME, OTHER, MORE])
def test_disk(disk: Stage, prior, parts) -> None:
    tally = die_at_every_step(disk, Scene(prior, parts), (BEFORE, AFTER, HALF, LOST))
    print(tally)
    assert tally.cases
