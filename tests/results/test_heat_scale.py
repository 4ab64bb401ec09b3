"""The strongest colour of maps of cells and of pixels, by hand."""

import pytest
import torch
from PIL import Image
from toys import toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.geometry import Placement, squeeze
from multimodal_cam.results.heat_scale import full_heat, positive_on_photo
from multimodal_cam.results.records import PixelMaps


def test_outliers_of_pixels_do_not_set_the_scale():
    values = torch.full((10, 10), 1.0)
    values[0, 0] = 10.9  # 9.9 % of the sum of 109.9
    assert full_heat(values, of_pixels=False) == pytest.approx(10.9)
    assert full_heat(values, of_pixels=True) == 1.0
    values[0, 0] = 20.0  # 16.8 %
    assert full_heat(values, of_pixels=True) == 20.0
    assert full_heat(torch.zeros(3, 3), of_pixels=True) == 0.0


def test_pixels_smaller_than_those_of_the_photo_are_averaged():
    maps = torch.tensor([[[4.0, 0.0, -1.0, -9.0]] * 4])
    assert positive_on_photo(maps, squeeze(2, 2), of_pixels=True).tolist() == [[[2.0, 0.0]] * 2]
    whole = positive_on_photo(maps, squeeze(4, 4), of_pixels=True)
    torch.testing.assert_close(whole, maps.clamp(min=0))
    half = positive_on_photo(maps, Placement(4, 4, (0.25, 0.25, 0.75, 0.75)), of_pixels=True)
    assert half.sum() == pytest.approx(4.0)


def of_pixels(words=2, side=30):
    """An explanation whose word `i` has a flat map of `i + 1` with one pixel a thousand times that."""
    image = Image.new("RGB", (side, side), (90, 100, 110))
    e = toy_explanation(" ".join("abcdef"[:words]), image, grid=(side, side))
    pixels = torch.ones(words, 3, side, side) * (torch.arange(words)[:, None, None, None] + 1) / 3
    pixels[:, :, 0, 0] *= 90
    fields = {
        **vars(e),
        "token_maps": pixels.sum(dim=1),
        "token_changes": None,
        "pixel_maps": PixelMaps(pixels),
        "layer": "pixels",
    }
    return mc.Explanation(**{name: value for name, value in fields.items() if name in mc.Explanation.__dataclass_fields__})


def test_heatmap_figure_and_page_of_pixels(tmp_path):
    e = of_pixels()
    assert e.heatmap("b").max() == 1
    assert e.heatmap("a", scale="word")[5:, 5:].eq(1).all()
    assert e.heatmap("a")[5:, 5:].allclose(torch.tensor(0.5))
    figure = e.figure()
    texts = " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
    assert "2 nats a pixel" in texts
    assert "· pixels" in texts
    page = e.to_html(tmp_path / "page.html")
    assert '"cell":"pixel"' in page
    assert '"share":0.9' in page
