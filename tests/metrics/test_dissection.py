"""metrics/dissection.py against areas counted by hand."""

from __future__ import annotations

import pytest
import torch

from multimodal_cam.metrics.dissection import TopCells, best_concepts, concept_ious


def photos() -> torch.Tensor:
    """Two photos of two channels and 2 x 2 cells."""
    return torch.tensor(
        [[[[9.0, 8.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]], [[[1.0, 0.0], [0.0, 7.0]], [[0.0, 0.0], [0.0, 3.0]]]]
    )


@pytest.mark.parametrize("at_once", [1, 2])
def test_areas_are_taken_over_all_photos(at_once: int) -> None:
    top = TopCells(3)
    for start in range(0, 2, at_once):
        top.add(photos()[start : start + at_once])
    labels = {"dog": [(0, torch.tensor([1.0, 0.5, 0.0, 0.0]))], "ball": [(1, torch.tensor([0.0, 0.0, 0.0, 1.0]))]}
    found = concept_ious(top, labels, quantile=3 / 8)
    # channel 0 marks 9, 8 and 7; channel 1 its 3 alone, for 0 is its lowest value
    assert found["dog"].tolist() == pytest.approx([1.5 / (3 + 1.5 - 1.5), 0])
    assert found["ball"].tolist() == pytest.approx([1 / (3 + 1 - 1), 1])
    assert best_concepts(found) == [("dog", pytest.approx(0.5)), ("ball", pytest.approx(1))]


def test_a_smaller_quantile_marks_less_and_overlapping_boxes_count_once() -> None:
    top = TopCells(8)
    top.add(photos())
    cell = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert concept_ious(top, {"dog": [(0, cell), (0, cell)]}, quantile=1 / 8)["dog"].tolist() == [1, 0]
    places, counts = top.marked(1 / 8)
    assert places[0].tolist() == [0]
    assert counts.tolist() == [[True], [True]]


def test_a_dead_channel_marks_nothing() -> None:
    top = TopCells(4)
    top.add(torch.full((2, 1, 2, 2), 0.3))
    assert not top.marked(0.5)[1].any()
    assert concept_ious(top, {"dog": [(0, torch.ones(4))]})["dog"].tolist() == [0]


def test_grids_and_photos_must_fit() -> None:
    top = TopCells(4)
    top.add(photos())
    with pytest.raises(ValueError, match="expected 2 channels of 4 cells for every photo, got 2 of 9"):
        top.add(torch.zeros(1, 2, 3, 3))
    with pytest.raises(ValueError, match="dog: photo 2 with 4 cells, expected one of 2 with 4"):
        concept_ious(top, {"dog": [(2, torch.ones(4))]})
    with pytest.raises(ValueError, match="most: expected one cell or more"):
        TopCells(0)
