"""The page on threads: what is measured of ours, on the pool that models use."""
from __future__ import annotations

import pytest

from benchmarks import layers
from nncompile.cpu import layout
from nncompile.cpu.runtime import pool


@pytest.mark.skipif(not pool.supported(), reason="needs Linux")
def test_our_regions_run_on_the_pool() -> None:
    region, both = layers.our_region()
    before = int(layers.POOL.words[layout.NUMBER])
    region(5, 3)
    both(5)
    assert layers.POOL.words[layout.NUMBER] - before == 3          # jobs: `both` is none
