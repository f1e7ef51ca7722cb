"""Memory kept between the steps of a loop."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from vaebias.memory import keep_freed_memory

resource = pytest.importorskip("resource", reason="Unix only")


def _faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(2**20)  # 8 MiB
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_memory_is_kept_between_steps_and_after_a_block_within() -> None:
    few = 8 * 2**23 // resource.getpagesize() / 10
    with keep_freed_memory():
        _faults()  # the first ones map the memory
        assert _faults() < few
        with keep_freed_memory():
            pass
        assert _faults() < few
