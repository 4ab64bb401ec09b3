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


@KINDS
def test_a_transform_that_changes_the_photo_itself_changes_a_copy(kind):
    def letterbox(image):
        image.thumbnail((32, 32))  # in place, as much code has it
        whole = Image.new("RGB", (32, 32))
        whole.paste(image, ((32 - image.width) // 2, (32 - image.height) // 2))
        return ToTensor()(whole)

    photo = noise_image(0, (9, 7)).resize((100, 80))
    e = explained(kind, photo, preprocess=letterbox)
    assert (e.placement.width, e.placement.height) == photo.size == (100, 80)
    assert e.placement.frame == pytest.approx((0, -0.125, 1, 1.125), abs=0.02)


def test_stored_values_may_be_scaled_in_place():
    def scaled(values):
        values *= np.array(0.5, values.dtype) if values.dtype == np.float32 else 2
        return torch.from_numpy(values.astype("float32", copy=False))[None]

    values = np.random.default_rng(0).random((48, 64), dtype="float32") * 7 + 2
    before = values.copy()
    values.flags.writeable = False  # as a memory map of a file is, and what scales it in place would end in an error
    model = mc.classifier(small_cnn(1), preprocess=scaled, raw=True)
    assert not [one for one in mc.check(model, values) if not one.passed]
    assert np.array_equal(values, before)


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
    assert len([image for image in calls if image.getcolors() is None or len(image.getcolors()) > 1]) == 2, "and blank photos"


def test_a_random_transform_is_refused_by_every_kind():
    from torchvision.transforms import RandomResizedCrop

    for kind in ("classifier", "captioner", "vqa"):
        with pytest.raises(ValueError, match="moves or alters photos at random .*pass placement="):
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


# ---- values as they are stored -------------------------------------------------------------------------------------------


def bands_to_pixels(values: np.ndarray) -> torch.Tensor:
    """An array of any bands and numbers, from -0.5 to 0.5 or so, cropped."""
    pixels = torch.from_numpy(np.ascontiguousarray(values).astype(np.float32))
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    size = CenterCrop(32)(Resize(40)(pixels))
    return size / (4095 if values.dtype == np.uint16 else 255 if values.dtype == np.uint8 else 1) - 0.5


class AnyBandsEncoder(nn.Module):
    """The encoder of `small_captioner` behind a convolution of its own bands."""

    def __init__(self, bands: int, encoder: nn.Module) -> None:
        super().__init__()
        self.mix, self.encoder = nn.Conv2d(bands, 3, 1), encoder

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.encoder(self.mix(pixels))


def raw_model(kind: str, bands: int):
    torch.manual_seed(0)
    if kind == "classifier":
        return mc.classifier(small_cnn(bands), preprocess=bands_to_pixels, raw=True)
    if kind == "captioner":
        plain = small_captioner()
        return mc.captioner(
            encoder=AnyBandsEncoder(bands, plain.encoder), decoder=plain.decoder, tokenizer=plain.tokenizer, bos=0, eos=1,
            preprocess=bands_to_pixels, raw=True,
        )  # fmt: skip
    plain = small_vqa()
    return mc.vqa(
        encoder=AnyBandsEncoder(bands, plain.encoder), head=plain.head, answers=list(plain.labels.names),
        tokenizer=plain.tokenizer, preprocess=bands_to_pixels, raw=True,
    )  # fmt: skip


def banded(bands: int, dtype: str, seed: int = 0, size: tuple[int, int] = (100, 80)) -> np.ndarray:
    grey = [np.asarray(noise_image(seed + i, (9, 7)).resize(size).convert("L")) for i in range(bands)]
    values = np.stack(grey, axis=-1) if bands > 1 else grey[0]
    return {"uint16": values.astype(np.uint16) * 16, "float32": values.astype(np.float32) / 255, "uint8": values}[dtype]


@KINDS
@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint8"])
@pytest.mark.parametrize("bands", [1, 2, 4])
def test_networks_of_other_bands_get_the_array_as_stored(kind, bands, dtype):
    model, values = raw_model(kind, bands), banded(bands, dtype)
    asked = {"question": QUESTION} if kind == "vqa" else {"text": "a dog"} if kind == "captioner" else {}
    e = mc.explain(model, values, **asked)
    assert e.placement.frame == pytest.approx(center_crop(100, 80, resize=40, crop=32).frame, abs=0.02)
    assert (e.image.mode, e.image.size) == ("RGB", (100, 80))
    pixels = model.preprocess([e.image], [QUESTION] if kind == "vqa" else None).pixels[0]
    torch.testing.assert_close(pixels, bands_to_pixels(values))
    assert e.maps.isfinite().all()
    several = mc.explain(model, [values, banded(bands, dtype, 5)], **asked)
    torch.testing.assert_close(several[0].maps, e.maps, rtol=1e-4, atol=1e-5)


@KINDS
def test_the_check_of_a_network_that_reads_stored_values(kind):
    asked = {"question": QUESTION} if kind == "vqa" else {"text": "a dog"} if kind == "captioner" else {}
    found = {one.name: one for one in mc.check(raw_model(kind, 4), banded(4, "uint16"), **asked)}
    placement = found["the placement is where preprocess puts the photo"]
    assert placement.passed, placement
    assert "measured (0.18, 0.10, 0.82, 0.90)" in placement.detail
    assert found["the head is the rest of the network"].passed
    assert found["two photos at once are each alone"].passed


@pytest.mark.parametrize("mode", ["L", "I;16", "F"])
def test_images_of_one_channel(mode, tmp_path):
    values = banded(1, {"L": "uint8", "I;16": "uint16", "F": "float32"}[mode])
    model = raw_model("classifier", 1)
    from_array = mc.explain(model, values)
    Image.fromarray(values).save(tmp_path / "photo.tif")
    for source in (
        Image.fromarray(values),
        tmp_path / "photo.tif",
        torch.from_numpy(values.copy()),
    ):
        torch.testing.assert_close(mc.explain(model, source).maps, from_array.maps)


def test_without_raw_more_bands_are_refused_and_16_bits_are_scaled():
    grey = Compose([Grayscale(), Resize((28, 28)), ToTensor()])
    model = mc.classifier(small_cnn(1), preprocess=grey)
    with pytest.raises(ValueError, match="raw=True"):
        mc.explain(model, banded(4, "uint8"))
    scaled, plain = mc.explain(model, banded(1, "uint16")), mc.explain(model, banded(1, "uint8"))
    torch.testing.assert_close(scaled.maps, plain.maps, rtol=0.05, atol=0.01)


def test_raw_without_preprocess_or_with_one_that_fails():
    with pytest.raises(ValueError, match="raw=True hands photos as stored to preprocess: pass preprocess="):
        mc.classifier(small_cnn(), raw=True)
    with pytest.raises(ValueError, match=r"raw=True: preprocess makes no 3 channels of an array .*\(no such band\)"):
        mc.classifier(small_cnn(), preprocess=lambda values: (_ for _ in ()).throw(RuntimeError("no such band")), raw=True)


@KINDS
def test_a_network_of_another_number_of_channels_says_what_to_do(kind):
    grey = AnyBandsEncoder(1, small_captioner().encoder)
    makers = {
        "classifier": lambda: mc.explain(mc.classifier(small_cnn(1)), noise_image()),
        "captioner": lambda: mc.explain(
            mc.captioner(encoder=grey, decoder=small_captioner(cuts=False).decoder, tokenizer=["a", "dog"]),
            noise_image(),
            text="a",
        ),
        "vqa": lambda: mc.explain(
            mc.vqa(encoder=grey, head=small_vqa().head, answers=["a"], tokenizer=["what"]), noise_image(), question="what"
        ),
    }
    with pytest.raises(ValueError, match=r"without preprocess= photos have 3 channels, and the network takes others .*Grayscale"):
        makers[kind]()


def test_layers_of_a_network_that_reads_stored_values():
    from multimodal_cam.adapters.catalog import layer_rows

    assert layer_rows(raw_model("classifier", 4))
