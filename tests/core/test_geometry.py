"""Maps land where they should on the original image."""

import pytest
import torch

from multimodal_cam.core.geometry import Placement, center_crop, letterbox, paint_boxes, place, squeeze


def peak(drawn):
    y, x = divmod(int(drawn.argmax()), drawn.shape[1])
    return x, y


def one_cell(row, column, grid=4):
    map = torch.zeros(1, grid, grid)
    map[0, row, column] = 1
    return map


@pytest.mark.parametrize("size", [(100, 100), (400, 100), (50, 300)])
def test_squeezed_grids_cover_the_whole_image(size):
    drawn = place(one_cell(3, 0), squeeze(*size))[0]
    assert drawn.shape == (size[1], size[0])
    x, y = peak(drawn)
    assert x < size[0] / 4
    assert y > size[1] * 3 / 4


def test_a_centre_crop_lands_in_the_middle():
    placement = center_crop(400, 100)
    assert placement.frame == (0.375, 0.0, 0.625, 1.0)
    drawn = place(torch.ones(1, 4, 4), placement)[0]
    assert drawn[:, :150].eq(0).all()
    assert drawn[:, 250:].eq(0).all()
    torch.testing.assert_close(drawn[:, 150:250], torch.ones(100, 100))


def test_a_centre_crop_of_a_resized_photo_keeps_224_of_256_pixels():
    assert center_crop(400, 100, resize=256, crop=224).frame == (0.390625, 0.0625, 0.609375, 0.9375)
    assert center_crop(100, 100, resize=224, crop=256).frame[0] < 0, "a crop larger than the photo is padded"


def test_a_letterbox_drops_its_margins():
    placement = letterbox(400, 100)
    assert placement.frame == (0.0, -1.5, 1.0, 2.5)
    assert place(one_cell(0, 0), placement)[0].eq(0).all()  # the first row of cells lies above the photo
    assert place(one_cell(2, 1), placement)[0].max() > 0.3
    x, _ = peak(place(one_cell(2, 1), placement)[0])
    assert 100 <= x < 200


def test_bilinear_and_nearest_by_hand():
    map = torch.tensor([[[0.0, 1.0]]])
    torch.testing.assert_close(place(map, Placement(4, 1))[0], torch.tensor([[0.0, 0.25, 0.75, 1.0]]))
    torch.testing.assert_close(place(map, Placement(4, 1), mode="nearest")[0], torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    assert place(map, Placement(4, 1), size=(2, 8)).shape == (1, 2, 8)


def test_one_pixel():
    assert place(torch.full((1, 7, 7), 0.5), squeeze(1, 1)).tolist() == [[[0.5]]]


@pytest.mark.parametrize("frame", [(0.5, 0.0, 0.5, 1.0), (0.0, 1.0, 1.0, 0.0)])
def test_empty_frames_are_refused(frame):
    with pytest.raises(ValueError, match="x0 < x1"):
        Placement(10, 10, frame)


BOXES = ((0.0, 0.0, 0.5, 1.0), (0.25, 0.25, 1.0, 0.75))


@pytest.mark.parametrize(("values", "middle"), [([1.0, 2.0], 2.0), ([-3.0, 2.0], -3.0)])
def test_boxes_are_filled_and_the_strongest_is_on_top(values, middle):
    drawn = place(torch.tensor(values)[None, :, None], Placement(8, 4, boxes=BOXES))[0]
    first, second = values
    expected = torch.tensor(
        [[first] * 4 + [0.0] * 4] + [[first] * 2 + [middle] * 2 + [second] * 4] * 2 + [[first] * 4 + [0.0] * 4]
    )
    torch.testing.assert_close(drawn, expected)


def test_outlines_are_the_wider_the_nearer_a_value_is_to_one():
    placement = Placement(200, 200, boxes=((0.1, 0.1, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)))
    drawn = paint_boxes(torch.tensor([1.0, 0.5]), placement, outlines=True)
    assert drawn[50, 20:80].nonzero().flatten().tolist() == [0, 1, 2, 3, 56, 57, 58, 59]
    assert drawn[150, 100:180].nonzero().flatten().tolist() == [0, 1, 78, 79]
    assert drawn[20:24, 20:80].eq(1).all()
    assert drawn[30, 30] == drawn[90, 90] == 0


def test_a_tiny_box_has_a_pixel():
    placement = Placement(10, 10, boxes=((0.999, 0.0, 1.0, 0.001),))
    assert place(torch.ones(1, 1, 1), placement)[0].nonzero().tolist() == [[0, 9]]
    assert paint_boxes(torch.ones(1), placement, outlines=True).sum() == 1


def test_each_box_has_a_value_and_lies_inside():
    with pytest.raises(ValueError, match="a value for each of 2 boxes, got 3"):
        place(torch.ones(1, 3, 1), Placement(8, 4, boxes=BOXES))
    with pytest.raises(ValueError, match="0 <= x0 < x1 <= 1"):
        Placement(8, 4, boxes=((0.0, 0.0, 1.5, 1.0),))
