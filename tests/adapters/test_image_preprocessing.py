"""Preprocessing around a user's own captioner, VQA network and classifier: layouts, placements, photos of several sizes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from networks import noise_image, small_captioner, small_vqa
from PIL import Image
from torch import nn
from torchvision.transforms import CenterCrop, Compose, Grayscale, Normalize, Resize, ToTensor

import multimodal_cam as mc
from multimodal_cam.core.geometry import center_crop, squeeze

CROP = Compose([Compose([Resize(40), CenterCrop(32)]), ToTensor(), Normalize([0.5], [0.25])])
QUESTION = "what is this?"


def small_cnn(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    grid = nn.Sequential(nn.Conv2d(channels, 6, 3, stride=2, padding=1), nn.ReLU())
    return nn.Sequential(grid, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def explained(kind: str, images, **options):
    """The kind of model with these options, explaining images."""
    if kind == "classifier":
        return mc.explain(mc.classifier(small_cnn(), **options), images)
    if kind == "captioner":
        return mc.explain(small_captioner(**options), images, text="a dog")
    return mc.explain(small_vqa(**options), images, question=QUESTION)


KINDS = pytest.mark.parametrize("kind", ["classifier", "captioner", "vqa"])


@KINDS
@pytest.mark.parametrize("size", [(100, 80), (80, 130)])
def test_a_crop_is_where_it_is(kind, size):
    e = explained(kind, noise_image(0, (9, 7)).resize(size), preprocess=CROP)
    assert e.placement.frame == pytest.approx(center_crop(*size, resize=40, crop=32).frame, abs=0.01)


@KINDS
def test_a_stated_placement_wins(kind):
    e = explained(kind, noise_image(), preprocess=CROP, placement=squeeze)
    assert e.placement.frame == (0, 0, 1, 1)


@KINDS
@pytest.mark.parametrize(
    "layout",
    [lambda pixels: pixels[None], lambda pixels: pixels.numpy(), lambda pixels: pixels.permute(1, 2, 0).numpy(), lambda p: [p]],
)
def test_layouts_are_the_same_pixels(kind, layout):
    photo = noise_image(0, (9, 7)).resize((100, 80))
    plain = explained(kind, photo, preprocess=CROP)
    other = explained(kind, photo, preprocess=lambda image: layout(CROP(image)))
    torch.testing.assert_close(other.maps, plain.maps)
    assert other.placement == plain.placement


@pytest.mark.parametrize("kind", ["classifier", "captioner"])
def test_photos_whose_pixels_differ_in_size_run_apart(kind):
    pool = {} if kind == "classifier" else {"cuts": False}
    resized = Compose([Resize(32), ToTensor()])
    photos = [noise_image(i, size).resize((size[0] * 8, size[1] * 8)) for i, size in enumerate([(9, 7), (7, 9), (9, 7)])]
    together = explained(kind, photos, preprocess=resized, **pool)
    for photo, e in zip(photos, together, strict=True):
        alone = explained(kind, photo, preprocess=resized, **pool)
        torch.testing.assert_close(e.maps, alone.maps, rtol=1e-4, atol=1e-5)
        assert e.placement.frame == (0, 0, 1, 1)


def test_a_batch_made_by_hand_of_two_sizes_is_refused():
    model = mc.classifier(small_cnn(), preprocess=Compose([Resize(32), ToTensor()]))
    with pytest.raises(ValueError, match=r"pixels of different shapes, \(3, 32, 42\), \(3, 42, 32\): end it with Resize"):
        model.preprocess([noise_image(0, (40, 30)), noise_image(0, (30, 40))])


def test_the_transform_runs_once_for_a_photo_of_a_known_size():
    calls = []

    def counted(image):
        calls.append(image)
        return CROP(image)

    model = mc.classifier(small_cnn(), preprocess=counted)
    mc.explain(model, noise_image(0))
    calls.clear()
    mc.explain(model, [noise_image(1), noise_image(2)])
    assert len(calls) == 2


def test_a_random_transform_is_refused_by_every_kind():
    from torchvision.transforms import RandomResizedCrop

    for kind in ("classifier", "captioner", "vqa"):
        with pytest.raises(ValueError, match="moves photos at random .*pass placement="):
            explained(kind, noise_image(), preprocess=Compose([RandomResizedCrop(32), ToTensor()]))


def test_a_network_of_one_channel():
    grey = Compose([Grayscale(), Resize((28, 28)), ToTensor()])
    model = mc.classifier(small_cnn(1), preprocess=grey)
    e = mc.explain(model, noise_image())
    assert e.placement.frame == (0, 0, 1, 1)
    assert e.maps.abs().sum() > 0


@functools.cache
def processor():
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": 32, "width": 32})


def test_an_image_processor_is_a_preprocessing():
    e = explained("classifier", noise_image(), preprocess=processor())
    plain = explained(
        "classifier", noise_image(), preprocess=lambda image: processor()(image, return_tensors="pt")["pixel_values"]
    )
    torch.testing.assert_close(e.maps, plain.maps)
    assert e.placement.frame == (0, 0, 1, 1)


def test_the_heat_lies_on_the_thing_in_a_cropped_photo():
    photo = Image.new("RGB", (200, 150))
    photo.paste((255, 255, 255), (120, 60, 140, 80))
    model = mc.classifier(small_cnn(), preprocess=Compose([Resize(40), CenterCrop(32), ToTensor()]))
    with torch.no_grad():
        model.module[0][0].weight.fill_(0.1)
        model.module[3].weight.copy_(torch.tensor([[1.0], [0.0], [-1.0]]).expand(3, 6))
    heat = mc.explain(model, photo, text="class 0").heatmap("class 0")
    y, x = np.unravel_index(np.asarray(heat).argmax(), heat.shape)
    assert 110 <= x <= 150
    assert 50 <= y <= 90
