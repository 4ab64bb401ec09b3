"""Token sequences seen as grids, and tiles laid out as one."""

from __future__ import annotations

import pytest
import torch

from multimodal_cam.adapters.hf.tiled_input import tiled_view
from multimodal_cam.adapters.hf.token_views import overlap_shares


def test_shares_of_parts_that_fit():
    assert overlap_shares(2, 4, 0, 1).T.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]


def test_shares_of_parts_that_straddle():
    assert overlap_shares(2, 3, 0, 1).T.tolist() == [
        [pytest.approx(2 / 3), pytest.approx(1 / 3), 0],
        [0, pytest.approx(1 / 3), pytest.approx(2 / 3)],
    ]


def test_what_lies_outside_belongs_to_the_nearest_part():
    found = overlap_shares(4, 2, -1, 1)  # the first two parts of four lie left of everything
    assert found.T.tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]


def test_tiles_and_the_whole_are_one_map_that_adds_up():
    tiles = torch.arange(16).view(4, 4)[:, [2, 0, 3, 1]]  # in an order of their own
    view = tiled_view(tiles, torch.arange(16, 20).view(2, 2), rest=torch.tensor([20]))
    output = torch.randn(1, 21, 5, generator=torch.Generator().manual_seed(0))
    activations = view.extract(output)
    torch.testing.assert_close(view.inject(activations, output), output)
    assert view.unplaced(activations).tolist() == output[:, 20:].tolist()
    cells = view.cells(activations).sum(dim=1)
    laid = view.to_image(cells)
    assert laid.shape == (1, 4, 4)
    torch.testing.assert_close(laid.sum(), output[:, :20].sum())
    torch.testing.assert_close(laid[0, 1, 0], output[0, tiles[1, 0]].sum() + output[0, 16].sum() / 4)
    torch.testing.assert_close(laid[0, 3, 2], output[0, tiles[3, 2]].sum() + output[0, 19].sum() / 4)


def test_a_whole_that_reaches_further_than_the_tiles():
    view = tiled_view(torch.arange(4).view(2, 2), torch.arange(4, 8).view(2, 2), frame=(-0.5, 0, 1.5, 1))
    cells = torch.tensor([0.0, 0, 0, 0, 1, 2, 3, 4])[None, :, None]
    assert view.to_image(cells)[0].tolist() == [[1, 2], [3, 4]]
