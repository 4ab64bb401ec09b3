"""Maps land where they should on the original image."""

import pytest
import torch

from multimodal_cam.core.geometry import Placement, center_crop, letterbox, place, squeeze


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
