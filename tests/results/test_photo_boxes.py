"""Boxes around what a word marks: the paper's rule and Otsu's, in pixels of the photo; in records, figures and pages."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from toys import region_explanation, toy_answer, toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.geometry import Placement, center_crop, letterbox, squeeze
from multimodal_cam.metrics.overlap import otsu
from multimodal_cam.render.figure_picture import figure_png
from multimodal_cam.render.html import page
from multimodal_cam.results.json_records import record


def blobs(*cells: tuple[slice, slice, float], placement: Placement | None = None) -> mc.Explanation:
    """A word whose map of 8 x 8 cells is 0 but for some rectangles, and a word whose map is negative."""
    e = toy_explanation("dog grass", Image.new("RGB", (160, 80)), placement=placement, grid=(8, 8))
    maps = torch.zeros(2, 8, 8)
    for rows, columns, value in cells:
        maps[0, rows, columns] = value
    maps[1] = -1
    return replace(e, token_maps=maps)


def brute_force(heat: torch.Tensor, threshold: float) -> list[float]:
    """The box of the largest connected segment that reaches the threshold, by flooding from each pixel."""
    left, best = {(y, x) for y, x in (heat >= threshold).nonzero().tolist()}, set[tuple[int, int]]()
    while left:
        flood = [left.pop()]
        segment = set(flood)
        while flood:
            y, x = flood.pop()
            near = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & left
            left -= near
            segment |= near
            flood += near
        best = max(best, segment, key=len)
    ys, xs = zip(*best, strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


PLACEMENTS = [squeeze(160, 80), center_crop(160, 80), letterbox(160, 80), Placement(160, 80, (0.5, 0.25, 1.0, 1.0))]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_papers_box_is_that_of_the_largest_segment_of_the_heatmap(placement: Placement) -> None:
    e = blobs((slice(2, 6), slice(3, 6), 1.0), (slice(7, 8), slice(7, 8), 5.0), placement=placement)
    assert e.boxes("dog").tolist() == [brute_force(e.heatmap("dog", scale="word"), 0.15)]


def test_otsus_box_is_that_of_its_foreground() -> None:
    e = blobs((slice(1, 7), slice(1, 7), 0.3), (slice(3, 5), slice(3, 5), 1.0))
    heat = e.heatmap("dog", scale="word")
    above = torch.where(heat > otsu(heat.flatten()), 1.0, 0.0)
    found = e.boxes("dog", rule="otsu")
    assert found.tolist() == [brute_force(above, 0.5)]
    assert found.shape == (1, 4)
    assert found.dtype == torch.float64


def test_nothing_positive_marks_no_box() -> None:
    e = blobs((slice(0, 1), slice(0, 1), 1.0))
    for rule in ("segment", "otsu"):
        assert e.boxes("grass", rule).shape == (0, 4)
    assert blobs().boxes(0).shape == (0, 4)


def test_large_photos_have_boxes_in_their_own_pixels() -> None:
    e = blobs((slice(2, 6), slice(3, 6), 1.0))
    large = replace(e, image=e.image.resize((4800, 2400)), placement=squeeze(4800, 2400))
    assert torch.allclose(large.boxes("dog"), e.boxes("dog") * 30, atol=60)  # a pixel of the small photo either way
    assert large.boxes("dog")[0, 2] > 1000


def test_a_box_of_a_phrase_and_of_an_unknown_word() -> None:
    e = toy_explanation(unknown=[2])
    assert e.boxes(e.whole().span).shape == (1, 4)
    assert e.boxes("brown").shape == (1, 4)
    assert e.boxes("dog").shape == (0, 4)


def test_regions_are_boxes_already_and_other_rules_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reads regions.*region_boxes"):
        region_explanation().boxes("dog")
    with pytest.raises(ValueError, match="unknown rule of boxes 'paper'; choose from segment, otsu"):
        toy_explanation().boxes("dog", rule="paper")
    with pytest.raises(ValueError, match="choose from segment, otsu"):
        toy_explanation().figure(boxes="paper")


def test_records_have_boxes_where_they_are_asked_for() -> None:
    e = blobs((slice(2, 6), slice(3, 6), 1.0))
    found = json.loads(json.dumps(record("x.jpg", e, boxes="segment")))
    assert found["words"][0]["boxes"] == e.boxes("dog").tolist()
    assert found["words"][1]["boxes"] == []
    assert found["whole"]["boxes"] == []
    assert "boxes" not in record("x.jpg", e)["words"][0]
    answers = record("x.jpg", toy_answer(), boxes="otsu")["answers"]
    assert all(len(answer["boxes"]) == 1 for answer in answers)


def test_figures_show_the_box_on_request() -> None:
    e = blobs((slice(2, 6), slice(3, 6), 1.0))
    plain, framed = (figure_png(e, boxes=rule) for rule in (None, "segment"))
    assert plain != framed
    assert plain == figure_png(e)
    axes = e.figure(boxes=True).subfigs[0].axes
    photo, dog, grass = (np.asarray(axis.get_images()[0].get_array()) for axis in axes[:3])
    x0, y0, x1, y1 = e.boxes("dog")[0].int().tolist()
    assert (dog[y0, x0:x1] == 255).all()
    assert (dog[y1 - 1, x0:x1] == 255).all()
    assert (dog[y0:y1, x0] == 255).all()
    assert (grass == photo).all()  # its map is empty


def test_a_page_holds_boxes_on_request_only() -> None:
    e = replace(blobs((slice(2, 6), slice(3, 6), 1.0)), parsed_phrases=())
    assert '"boxes":[[' in page([e], boxes="segment")
    assert page([e]) == e.to_html()
    assert e.to_html(boxes="segment") == e.to_html(boxes=True) == page([e], boxes="segment")
