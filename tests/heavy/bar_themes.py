"""Every page in both themes and before every width. In `make test` one theme and two widths are drawn for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_jobs.access.api_keys import ALL, KeyStore, Role
from tests.acceptance.test_page_axe import Looks, check_pages
from tests.acceptance.test_page_widths import SCHEMES, check_widths
from tests.gallery import Painter
from tests.stack import MakeStack

pytestmark = pytest.mark.usefixtures("shared_browser")


def test_no_page_has_a_serious_violation_in_any_state_and_theme(make_stack: MakeStack, tmp_path: Path) -> None:
    stack = make_stack(announce_seconds=1000.0)
    gallery = Painter(stack, tmp_path).everything()
    key = KeyStore(stack.client.store).create(ALL, Role.ADMIN, actor="test")[1]
    check_pages(key, gallery, stack.api(), Looks(everything=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_page_fits_every_width_with_room_at_both_sides(make_stack: MakeStack, scheme: str) -> None:
    check_widths(make_stack(max_concurrent_jobs=1000, announce_seconds=1000.0), scheme)
