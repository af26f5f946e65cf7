"""How figures look: colours that are told apart."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from ecg_transfer.drawing import ARM_COLOURS, PALETTE, distinct_colours


@pytest.mark.parametrize("number", [1, len(PALETTE), len(PALETTE) + 1, 11])
def test_no_two_things_of_a_figure_have_one_colour(number: int) -> None:
    """Beyond the palette's end, too: any two differ by a tenth of the scale in red, green or blue."""
    colours = distinct_colours(number)
    assert len(colours) == number
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in colours)
    parts = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in colours]
    for one, other in combinations(parts, 2):
        assert max(abs(a - b) for a, b in zip(one, other, strict=True)) >= 25


def test_few_colours_are_the_palettes_and_none_is_an_arms() -> None:
    assert distinct_colours(3) == list(PALETTE[:3])
    assert not set(ARM_COLOURS.values()) & set(distinct_colours(len(PALETTE)))
