"""metrics/localization.py against cases worked out by hand."""

from __future__ import annotations

import pytest
import torch

from multimodal_cam.metrics.localization import (
    inside,
    off_centre,
    others,
    peak,
    pointing,
    points_at,
    points_at_centre,
)

MAP = torch.tensor([[0.0, 1.0, 0.5, -9.0], [0.2, 0.1, 3.0, 0.0]])  # the largest cell: row 1 of 2, column 2 of 4


def test_peak_is_the_centre_of_the_largest_cell() -> None:
    assert peak(MAP) == (2.5 / 4, 1.5 / 2)


def test_peak_on_a_crop_is_in_fractions_of_the_whole_image() -> None:
    assert peak(MAP, frame=(0.5, 0.0, 1.0, 1.0)) == (0.5 + 0.625 * 0.5, 0.75)


def test_ties_go_to_the_first_cell_in_reading_order() -> None:
    assert peak(torch.tensor([[1.0, 2.0], [2.0, 2.0]])) == (0.75, 0.25)


@pytest.mark.parametrize("map", [torch.zeros(2, 2), torch.tensor([[-1.0, -0.1], [0.0, -3.0]])])
def test_a_map_with_nothing_positive_points_nowhere(map: torch.Tensor) -> None:
    assert peak(map) is None
    assert not points_at(map, [(0.0, 0.0, 1.0, 1.0)])


def test_tiny_maps_point_like_any_other() -> None:
    assert peak(MAP * 1e-9) == peak(MAP)


def test_any_of_the_boxes_counts_and_edges_are_inside() -> None:
    left, touching = (0.0, 0.0, 0.4, 1.0), (0.625, 0.75, 1.0, 1.0)
    assert not points_at(MAP, [left])
    assert points_at(MAP, [left, touching])


def test_pointing_gives_one_answer_per_map() -> None:
    right, left = [(0.5, 0.5, 1.0, 1.0)], [(0.0, 0.0, 0.4, 1.0)]
    hits = pointing([MAP, MAP, -MAP.abs()], [right, left, right])
    assert hits.dtype == torch.bool
    assert hits.tolist() == [True, False, False]


def test_off_centre_means_that_no_box_holds_the_centre() -> None:
    around, corner = (0.4, 0.4, 0.6, 0.6), (0.0, 0.0, 0.3, 0.3)
    assert off_centre([corner])
    assert not off_centre([corner, around])
    assert points_at_centre([corner, around])


def test_other_items_are_those_of_another_group() -> None:
    assert others(["dog", "dog", "grass", "ball"]) == [[2, 3], [2, 3], [0, 1, 3], [0, 1, 2]]
    assert others(["dog", "dog"]) == [[], []]


def test_misuse_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="NaN"):
        peak(torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match=r"one map \(h, w\), got shape \(1, 2, 2\)"):
        peak(torch.ones(1, 2, 2))
    with pytest.raises(ValueError, match="at least one box"):
        inside((0.5, 0.5), [])
