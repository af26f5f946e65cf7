"""How figures look: colours that are told apart, scores that stand at their epochs."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from ecg_transfer.drawing import ARM_COLOURS, PALETTE, distinct_colours, draw_arm


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


@pytest.mark.parametrize("num_epochs", [1, 3, 7, 100])
def test_ticks_of_epochs_are_whole(num_epochs: int) -> None:
    axis = Figure().subplots()
    draw_arm(axis, [np.stack([np.arange(1.0, num_epochs + 1), np.linspace(0.1, 0.6, num_epochs)])], "scratch")
    ticks = axis.get_xticks()
    assert len(ticks)
    assert all(tick == round(tick) for tick in ticks)


def test_scores_stand_at_the_epochs_that_all_seeds_were_evaluated_at() -> None:
    axis = Figure().subplots()
    whole = np.array([[5, 10, 15, 20, 25, 30], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    stopped = np.array([[10, 20], [0.4, 0.5]])
    draw_arm(axis, [whole, stopped], "scratch")
    (line,) = axis.lines
    assert line.get_xdata().tolist() == [10, 20]
    assert line.get_ydata().tolist() == pytest.approx([(0.2 + 0.4) / 2, (0.4 + 0.5) / 2])
