"""metrics/localization.py and metrics/overlap.py against cases worked out by hand, and against other libraries."""

from __future__ import annotations

import math

import pytest
import torch

from multimodal_cam.metrics.localization import (
    attention_correctness,
    average_precision,
    coverage,
    drawn,
    energy_in_boxes,
    in_out_means,
    in_out_ratio,
    inside,
    off_centre,
    others,
    peak,
    pointing,
    points_at,
    points_at_centre,
)
from multimodal_cam.metrics.overlap import (
    best_box_iou,
    box_iou,
    boxes_around,
    obj_iou,
    otsu,
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


def test_with_a_tolerance_near_boxes_are_hit_too() -> None:
    above = (0.6, 0.0, 0.65, 0.7)  # the peak (0.625, 0.75) is 0.05 below
    assert not points_at(MAP, [above])
    assert points_at(MAP, [above], tolerance=0.051)
    assert points_at(MAP, [above], tolerance=(0.0, 0.051))
    assert not points_at(MAP, [above], tolerance=(0.051, 0.049))
    assert pointing([MAP], [[above]], tolerance=0.051).all()


def test_the_tolerance_is_a_disc_in_pixels() -> None:
    corner = (0.0, 0.0, 0.5, 0.5)
    fifteen = (15 / 300, 15 / 150)  # of a photo of 300 x 150
    assert inside((0.5 + 9 / 300, 0.5 + 11.9 / 150), [corner], fifteen)  # 9^2 + 12^2 = 15^2
    assert not inside((0.5 + 9 / 300, 0.5 + 12.1 / 150), [corner], fifteen)


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


# ---- how much of a map is in the boxes -------------------------------------------------------------------------------------

QUARTER, HALF = (0.0, 0.0, 0.5, 0.5), (0.0, 0.0, 0.75, 1.0)
GRID = torch.tensor([[4.0, 1.0], [2.0, -5.0]])


def test_coverage_is_the_exact_share_of_the_union() -> None:
    overlapping = [(0.0, 0.0, 0.5, 0.75), (0.25, 0.5, 0.75, 1.0)]
    assert coverage(overlapping, (2, 2)).tolist() == [[1.0, 0.0], [0.75, 0.5]]
    assert coverage([(0.1, 0.1, 0.2, 0.3)], (1, 1)).item() == pytest.approx(0.02)
    assert not coverage([], (2, 2)).any()


def test_coverage_follows_the_frame() -> None:
    right_half = (0.5, 0.0, 1.0, 1.0)
    assert coverage([(0.0, 0.0, 0.75, 1.0)], (1, 2), right_half).tolist() == [[1.0, 0.0]]
    padded = (-0.5, 0.0, 1.5, 1.0)
    assert coverage([(0.0, 0.0, 1.0, 1.0)], (1, 4), padded).tolist() == [[0.0, 1.0, 1.0, 0.0]]


def test_energy_counts_the_covered_share_of_cells_and_no_negative_ones() -> None:
    assert energy_in_boxes(GRID, [QUARTER]).item() == pytest.approx(4 / 7)
    assert energy_in_boxes(GRID, [HALF]).item() == pytest.approx(6.5 / 7)
    assert energy_in_boxes(torch.stack([GRID, GRID * 1e-9, -GRID.abs()]), [QUARTER]).tolist() == pytest.approx([4 / 7, 4 / 7, 0])
    assert energy_in_boxes(torch.ones(7, 7), [(0.1, 0.2, 0.5, 0.7)]).item() == pytest.approx(0.4 * 0.5)


def test_in_out_ratio_is_one_for_a_uniform_map() -> None:
    assert in_out_ratio(torch.ones(3, 3), [(0.1, 0.2, 0.5, 0.7)]).item() == pytest.approx(1)


def test_in_out_ratio_divides_the_means() -> None:
    within, outside = in_out_means(GRID, [HALF])  # 3 cells against 1
    assert within.item() == pytest.approx(6.5 / 3)
    assert outside.item() == pytest.approx(0.5 / 1)
    assert in_out_ratio(GRID, [HALF]).item() == pytest.approx(6.5 / 3 / 0.5)


def test_in_out_ratio_without_an_outside_or_an_inside() -> None:
    assert in_out_ratio(torch.tensor([[1.0, 0.0]]), [(0.0, 0.0, 0.5, 1.0)]).item() == math.inf
    assert in_out_ratio(-torch.ones(2, 2), [QUARTER]).isnan()
    assert in_out_ratio(torch.ones(2, 3), [(0.0, 0.0, 0.3, 1.0), (0.3, 0.0, 1.0, 1.0)]).isnan()
    assert in_out_means(torch.ones(2, 2), [QUARTER], (0.5, 0.5, 1.0, 1.0))[0].isnan()


def test_what_is_padded_is_not_outside() -> None:
    padded, map = (-0.5, 0.0, 1.5, 1.0), torch.tensor([[9.0, 4.0, 2.0, 9.0]])
    assert in_out_ratio(map, [(0.0, 0.0, 0.5, 1.0)], padded).item() == 2
    assert energy_in_boxes(map, [(0.0, 0.0, 0.5, 1.0)], padded).item() == pytest.approx(4 / 6)


def test_attention_correctness_is_that_of_the_best_word() -> None:
    words = torch.tensor([[[0.25, 0.75]], [[0.5, 0.5]]])
    left = [(0.0, 0.0, 0.5, 1.0)]
    # drawn on four columns: .25 .375 .625 .75 and .5 .5 .5 .5
    assert attention_correctness(words[:1], left, size=4) == pytest.approx(0.625 / 2)
    assert attention_correctness(words, left, size=4) == pytest.approx(0.5)


def test_drawn_maps_are_no_coarser() -> None:
    assert torch.equal(drawn(GRID, 1), GRID)
    assert drawn(torch.ones(3, 2, 4, 5), 8).shape == (3, 2, 8, 8)


def test_average_precision_of_cells() -> None:
    map = torch.tensor([[4.0, 3.0], [2.0, -1.0]])
    left = [(0.0, 0.0, 0.7, 1.0)]  # 40 % of the right column's cells: not the thing's
    assert average_precision(map, left).item() == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision(torch.ones(2, 2), left).item() == pytest.approx(0.5)
    assert average_precision(map, [(0.0, 0.0, 0.1, 0.1)]).isnan()


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    maps = torch.randn(5, 7, 7, generator=torch.Generator().manual_seed(0)).mul(3).round()  # with ties
    boxes = [(0.1, 0.2, 0.6, 0.8), (0.5, 0.5, 1.0, 0.9)]
    labels = (coverage(boxes, (7, 7)) > 0.5).flatten().numpy()
    expected = [metrics.average_precision_score(labels, map.flatten().numpy()) for map in maps]
    assert average_precision(maps, boxes).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    "metric", [energy_in_boxes, in_out_ratio, attention_correctness, average_precision, box_iou, best_box_iou, obj_iou]
)
def test_maps_with_nan_are_refused_everywhere(metric) -> None:
    with pytest.raises(ValueError, match="NaN"):
        metric(torch.full((1, 2, 2), torch.nan), [QUARTER])


# ---- boxes and masks made of a map -----------------------------------------------------------------------------------------

PARTS = torch.tensor(
    [
        [9.0, 0.0, 2.0, 2.0],
        [0.0, 0.0, 2.0, 1.0],
        [0.0, 3.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, -7.0],
    ]
)


def test_the_box_is_around_the_largest_part() -> None:
    assert boxes_around(PARTS, size=4).tolist() == [0.5, 0.0, 1.0, 0.5]  # 15 % of 9 is 1.35: three cells
    assert boxes_around(PARTS, threshold=0.3, size=4).tolist() == [0.0, 0.0, 0.25, 0.25]  # of two single cells the first
    assert boxes_around(torch.stack([PARTS * 1e-9, -PARTS.abs()]), size=4)[0].tolist() == [0.5, 0.0, 1.0, 0.5]
    assert boxes_around(-PARTS.abs(), size=4).isnan().all()


def test_the_box_lies_in_the_frame() -> None:
    assert boxes_around(PARTS, (0.5, 0.0, 1.0, 0.5), size=4).tolist() == [0.75, 0.0, 1.0, 0.25]


def test_the_largest_parts_are_those_of_one_map_at_a_time() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    maps = torch.randn(6, 9, 9, generator=torch.Generator().manual_seed(1))
    for map, found in zip(maps, boxes_around(maps, size=9), strict=True):
        labels, count = ndimage.label((map >= 0.15 * map.max()).numpy())
        largest = max(range(1, count + 1), key=lambda i, labels=labels: (labels == i).sum())
        rows, columns = ndimage.find_objects(labels)[largest - 1]
        assert (found * 9).tolist() == pytest.approx([columns.start, rows.start, columns.stop, rows.stop])


def test_box_iou_is_with_the_box_that_is_met_best() -> None:
    far, near = (0.0, 0.5, 0.5, 1.0), (0.5, 0.0, 1.0, 0.25)
    assert box_iou(PARTS, [far, near], size=4).item() == pytest.approx(0.5)
    assert box_iou(PARTS, [far], size=4).item() == 0
    assert box_iou(torch.stack([PARTS, -PARTS.abs()]), [near], size=4).tolist() == pytest.approx([0.5, 0])


def test_the_best_box_is_at_the_best_threshold() -> None:
    assert best_box_iou(PARTS, [(0.0, 0.0, 0.25, 0.25)], size=4).item() == pytest.approx(1)
    assert best_box_iou(PARTS, [(0.5, 0.0, 1.0, 0.5)], thresholds=(0.15, 0.9), size=4).item() == pytest.approx(1)


def test_otsu_separates_two_groups() -> None:
    values = torch.tensor([[1.0, 8.0, 2.0, 9.0, 1.0], [5.0, 5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    assert otsu(values).tolist() == [2.0, 5.0, 0.0]


def test_otsu_is_that_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    grey = torch.randint(0, 256, (8, 20, 20), generator=torch.Generator().manual_seed(2)).clamp(40, 200)
    expected = [cv2.threshold(map.byte().numpy(), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0] for map in grey]
    assert otsu(grey.float().flatten(1)).tolist() == expected


def test_obj_iou_is_of_the_foreground_with_the_boxes_area() -> None:
    map = torch.tensor([[9.0, 8.0], [1.0, -3.0]])
    assert otsu(map.relu().flatten()).item() == 1
    assert obj_iou(map, [(0.0, 0.0, 1.0, 0.5)], size=2).item() == pytest.approx(1)
    assert obj_iou(map, [(0.0, 0.0, 0.75, 1.0)], size=2).item() == pytest.approx(1.5 / (2 + 3 - 1.5))
    assert obj_iou(torch.stack([map, -map.abs()]), [(0.0, 0.0, 1.0, 0.5)], size=2).tolist() == [1, 0]
    assert obj_iou(-map.abs(), [(0.0, 0.0, 0.1, 0.1)], (0.5, 0.5, 1.0, 1.0)).item() == 0  # nothing marked, nothing seen
