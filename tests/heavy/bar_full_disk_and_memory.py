"""In its long form: the disk and the server's memory are full at once, again and again; times are printed."""

from __future__ import annotations

import pytest

from tests.acceptance.test_full_disk_stack import Local, full_and_space_again
from tests.acceptance.test_full_disk_stack import local as local
from tests.chaos.small_disk import SmallDisk
from tests.waiting import until


@pytest.mark.parametrize("wait", [0, 20], ids=["both at once", "the disk first"])
def test_five_times_full_and_five_times_back(local: Local, disk: SmallDisk, wait: float) -> None:
    until(local.is_ready, "the stack")
    for _ in range(5):
        full_and_space_again(local, disk, memory=True, wait=wait)
