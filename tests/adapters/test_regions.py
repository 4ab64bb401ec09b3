"""Networks over region features (bottom-up attention): a value for each box of a photo, by hand, saved, in JSON and in words."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

import multimodal_cam as mc
from multimodal_cam.core.geometry import Placement, place
from multimodal_cam.results.json_records import record

FEATURES = torch.tensor([[1.0, 0.0], [2.0, 4.0], [0.0, 3.0]])  # (r, d): channel v speaks for word v
WEIGHTS = torch.tensor([1.0, -2.0, 4.0])  # of the regions; their mean is 1
BOXES = [[0, 0, 20, 10], [10, 5, 40, 30], [30, 20, 40, 30]]
EVIDENCE = {"red": [1.0, -4.0, 0.0], "green": [0.0, -8.0, 12.0]}  # weight times feature
GRAD_CAM = {"red": [1.0, 2.0, 0.0], "green": [0.0, 4.0, 3.0]}  # mean gradient times feature
PHOTO = Image.new("RGB", (40, 30), "gray")
COLOURS = ["red", "green", "blue"]


class WeightedSum(nn.Module):
    """Logits of the words: the weighted sum of the regions' features."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(WEIGHTS)

    def forward(self, features, ids):
        return torch.einsum("r,brv->bv", self.weights, features)[:, None].expand(-1, ids.shape[1], -1)


class Reader(WeightedSum):
    """The same for answers, times the sum of the question's ids."""

    def forward(self, features, question):
        return super().forward(features, question)[:, 0] * question.clamp(min=0).sum(dim=1, keepdim=True)


class RegionEncoder(nn.Module):
    """Mean colour in each box of a photo that was squeezed: `(b, 3, H, W)` -> `(b, r, 3)`."""

    def __init__(self, boxes):
        super().__init__()
        self.boxes = boxes
        self.grid = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.grid.weight)

    def forward(self, pixels):
        grid = self.grid(pixels)
        across, down = pixels.shape[-1] / PHOTO.width, pixels.shape[-2] / PHOTO.height
        crops = [
            grid[:, :, round(y0 * down) : round(y1 * down), round(x0 * across) : round(x1 * across)]
            for x0, y0, x1, y1 in self.boxes
        ]
        return torch.stack([crop.mean(dim=(2, 3)) for crop in crops], dim=1)


class MeanColour(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, features, ids):
        return (self.scale * features.mean(dim=1))[:, None].expand(-1, ids.shape[1], -1)


def captioner(regions=lambda photo: BOXES, preprocess=lambda photo: FEATURES, encoder=None, **options):
    return mc.captioner(
        encoder=encoder or nn.Identity(),
        decoder=WeightedSum(),
        tokenizer=["red", "green"],
        preprocess=preprocess,
        regions=regions,
        **options,
    )


def colour_captioner(boxes, given=None, encoder=None):
    return mc.captioner(
        encoder=encoder or RegionEncoder(boxes),
        decoder=MeanColour(),
        tokenizer=COLOURS,
        image_size=32,
        regions=lambda photo: given or boxes,
    )


def explained(method="evidence", **options):
    return mc.explain(captioner(**options), PHOTO, text="red green", method=method, score="logit")


QUARTERS = [[0, 0, 20, 15], [20, 0, 40, 15], [0, 15, 20, 30]]  # red, green, blue


def colour_photo():
    photo = Image.new("RGB", (40, 30))
    for colour, (x0, y0, x1, y1) in zip([(255, 0, 0), (0, 255, 0), (0, 0, 255)], QUARTERS, strict=True):
        photo.paste(colour, (x0, y0, x1, y1))
    return photo


# ---- values ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "expected"), [("evidence", EVIDENCE), ("grad_cam", GRAD_CAM)])
def test_a_captioner_has_a_value_for_each_box_and_word(method, expected):
    e = explained(method)
    for word, values in expected.items():
        torch.testing.assert_close(e[word].map, torch.tensor(values)[:, None])
    torch.testing.assert_close(e.whole().map, e["red"].map + e["green"].map)
    assert e.region_boxes.tolist() == BOXES


def test_values_add_up_to_the_change_of_the_score_from_features_of_zeros():
    e = explained()
    torch.testing.assert_close(e.maps.sum(dim=(1, 2)), e.scores)
    assert e.completeness.abs().max() < 1e-5
    e = mc.explain(captioner(), PHOTO, text="red green", method="evidence", score="log_prob")
    torch.testing.assert_close(e.maps.sum(dim=(1, 2)), e.reliance, atol=1e-2, rtol=1e-2)


def test_a_vqa_network_has_a_value_for_each_box_and_answer():
    model = mc.vqa(
        encoder=nn.Identity(),
        head=Reader(),
        answers=["red", "green"],
        tokenizer=["no", "what", "is"],
        preprocess=lambda photo: FEATURES.numpy(),
        regions=lambda photo: torch.tensor(BOXES),
    )
    e = mc.explain(model, PHOTO, question="what is", method="evidence")
    for answer, values in EVIDENCE.items():
        torch.testing.assert_close(e.answer_maps[answer], 3 * torch.tensor(values)[:, None])  # 3 = ids of "what" and "is"
    assert [len(answer["regions"]) for answer in record("photo.png", e)["answers"]] == [3, 3]


def test_explain_score_has_a_value_for_each_region_that_place_draws():
    reader = nn.Identity()
    maps = mc.explain_score(lambda x: torch.einsum("r,brv->b", WEIGHTS, reader(x)), reader, FEATURES[None], layout="regions")
    torch.testing.assert_close(maps, torch.tensor([[1.0, 6.0, 3.0]]))
    corners = tuple((x0 / 40, y0 / 30, x1 / 40, y1 / 30) for x0, y0, x1, y1 in BOXES)
    drawn = place(maps[..., None], Placement(40, 30, boxes=corners))[0]
    assert drawn.shape == (30, 40)
    assert [float(drawn[y, x]) for x, y in ((0, 0), (15, 7), (35, 25), (0, 29))] == [1, 6, 6, 0]  # the strongest is on top


@pytest.mark.parametrize("method", ["evidence", "grad_cam", "layer_cam"])
def test_a_word_lies_in_the_box_of_its_colour(method):
    e = mc.explain(colour_captioner(QUARTERS), colour_photo(), text="red green blue", method=method)
    assert [int(e[word].map.argmax()) for word in COLOURS] == [0, 1, 2] or method == "grad_cam"
    assert e.heatmap("green")[7, 30] == e.heatmap("green").max()


def test_photos_may_have_boxes_of_their_own_number():
    photos = [PHOTO.resize((width, 30)) for width in (40, 41, 42)]

    def features(photo):
        return FEATURES[: 2 if photo.width == 41 else 3]

    class Sum(WeightedSum):
        def forward(self, features, ids):
            return features.sum(dim=1)[:, None].expand(-1, ids.shape[1], -1)

    model = mc.captioner(
        encoder=nn.Identity(),
        decoder=Sum(),
        tokenizer=["red", "green"],
        preprocess=features,
        regions=lambda photo: BOXES[: len(features(photo))],
    )
    found = mc.explain(model, photos, text="red", method="evidence", score="logit")
    assert [e["red"].map.flatten().tolist() for e in found] == [[1, 2, 0], [1, 2], [1, 2, 0]]


def test_features_and_boxes_are_looked_up_by_the_photos_path(tmp_path):
    PHOTO.save(tmp_path / "7.png")
    stored = {str(tmp_path / "7.png"): (FEATURES, BOXES)}
    model = captioner(lambda photo: stored[photo.filename][1], lambda photo: stored[photo.filename][0])
    e = mc.explain(model, tmp_path / "7.png", text="red", method="evidence", score="logit")
    assert e["red"].map.flatten().tolist() == EVIDENCE["red"]


def test_an_encoder_may_give_boxes_beside_features():
    class Detector(nn.Module):
        def forward(self, features):
            return {"boxes": torch.zeros(len(features), 3, 4), "features": features}

    class Features(WeightedSum):
        def forward(self, output, ids):
            return super().forward(output["features"], ids)

    model = mc.captioner(
        encoder=Detector(),
        decoder=Features(),
        tokenizer=["red", "green"],
        preprocess=lambda photo: FEATURES,
        regions=lambda photo: BOXES,
    )
    e = mc.explain(model, PHOTO, text="red", method="evidence", score="logit")
    assert e["red"].map.flatten().tolist() == EVIDENCE["red"]


def test_a_grid_of_the_same_network_has_no_boxes():
    e = mc.explain(colour_captioner(QUARTERS), colour_photo(), text="red", layer="encoder.grid")
    assert (e.region_boxes, tuple(e.maps.shape), e.placement.boxes) == (None, (1, 32, 32), ())


# ---- on the photo, on disk, in JSON ------------------------------------------------------------------------------------------


def test_the_heatmap_is_the_boxes_painted():
    e = explained()
    heat = e.heatmap("green")  # 12 is the strongest; -8 is cut
    expected = torch.zeros(30, 40)
    expected[20:30, 30:40] = 1
    torch.testing.assert_close(heat, expected)
    torch.testing.assert_close(e.heatmap("red")[:10, :10], torch.full((10, 10), 1 / 12))


def test_they_are_saved_and_loaded(tmp_path):
    e = explained()
    loaded = mc.Explanation.load(e.save(tmp_path / "e"))
    assert torch.equal(loaded.maps, e.maps)
    assert loaded.placement == e.placement
    assert torch.equal(loaded.heatmap("green"), e.heatmap("green"))
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert len(manifest["placement"]["boxes"]) == 3


def test_the_json_record_has_boxes_and_their_values():
    found = json.loads(json.dumps(record("photo.png", explained())))
    assert found["boxes"] == BOXES
    assert [word["regions"] for word in found["words"]] == [*EVIDENCE.values()]
    assert found["words"][1]["peak"] == [0.875, 0.8333]  # the middle of the third box


def test_an_explanation_needs_a_value_for_each_box():
    e = explained()
    with pytest.raises(ValueError, match=r"expected \(2, 1\), a value for each box, got \(3, 1\)"):
        replace(e, placement=replace(e.placement, boxes=e.placement.boxes[:2]))


# ---- checked -----------------------------------------------------------------------------------------------------------------


def failed(model, photo):
    """What fails, but for the words of the model's own: these captioners have no end token."""
    found = mc.check(model, photo, text="red")
    return [str(one) for one in found if not one.passed and one.name != "its own words are the likeliest"]


def test_a_right_network_passes_the_check():
    for model, photo in ((captioner(), PHOTO), (colour_captioner(QUARTERS), colour_photo())):
        assert failed(model, photo) == []


def test_the_check_finds_boxes_in_another_order():
    model = colour_captioner(QUARTERS, given=[QUARTERS[1], QUARTERS[2], QUARTERS[0]])
    (found,) = failed(model, colour_photo())
    assert "cells lie where the placement says" in found
    assert "regions= gives boxes in another order" in found


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (BOXES[:2], "3 regions, and regions= gives 2 boxes"),
        (torch.zeros(3, 5), r"expected boxes \(r, 4\).*got shape \(3, 5\)"),
        ([], r"got shape \(0,\)"),
        (None, "got NoneType"),
        ([BOXES[0], [10, 5, 400, 300], BOXES[2]], r"box 1, \(10, 5, 400, 300\), reaches outside of the photo of 40 x 30"),
        ([[0, 0, 20, 10], [30, 20, 10, 10], [30, 20, 40, 30]], r"box 1 is \(30, 20, 10, 10\): boxes as x, y, w, h need"),
        ([[0, 0, 0.5, 0.5], [0, 0, 1, 1], [0.5, 0.5, 1, 1]], "at most 1: multiply fractions by the photo's width and height"),
        ([[0, 0, float("nan"), 10], *BOXES[1:]], "box 0"),
    ],
)  # fmt: skip
def test_what_are_no_boxes_on_the_photo_is_said(boxes, words):
    model = colour_captioner(BOXES)
    model.preprocessing.regions.regions = lambda photo: boxes
    with pytest.raises(ValueError, match=words):
        mc.explain(model, PHOTO, text="red")


def test_boxes_that_are_missing_or_not_asked_for_are_said():
    with pytest.raises(ValueError, match=r"layout='regions'.*pass regions= to captioner or vqa"):
        captioner(regions=None, layout="regions")
    with pytest.raises(ValueError, match="layout='bhwc' has no regions"):
        captioner(layout="bhwc")
    with pytest.raises(ValueError, match=r"expected \(b, r, c\) once, as regions= asks for"):
        mc.explain(colour_captioner(QUARTERS, encoder=nn.Conv2d(3, 3, 8, stride=8)), PHOTO, text="red")


@pytest.mark.parametrize("count", [4, 9, 16, 36])
def test_boxes_anywhere_are_no_tokens_of_a_grid(count):
    """A few of many boxes lie like two or four cells by chance: their encoder is refused without `regions=`."""
    places = torch.randint(0, 20, (count, 2), generator=torch.Generator().manual_seed(count)).tolist()
    encoder = RegionEncoder([[x, y, x + 10, y + 8] for x, y in places])
    model = mc.captioner(encoder=encoder, decoder=MeanColour(), tokenizer=COLOURS, image_size=64)
    with pytest.raises(ValueError, match=f"gives shape \\(1, {count}, 3\\), expected a grid"):
        mc.explain(model, colour_photo(), text="red")
