"""Where a preprocessing puts a photo is measured: any callable, any size, and what cannot be measured is refused in words."""

from __future__ import annotations

import functools
import io
import logging
import random
import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import functional, v2

from multimodal_cam.adapters.pixel_layout import pixels_of
from multimodal_cam.adapters.transform_placement import TransformPlacement
from multimodal_cam.core.images import load_image

SIZES = [(300, 200), (160, 350), (240, 240)]
NORMALIZE = v1.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TO_TENSOR = v1.ToTensor()
CROPPED = v1.Compose([v1.Resize(128), v1.CenterCrop(112)])  # in the proportions of 256 and 224


def photo(size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Blobs of all colours: no two parts of it look alike."""
    noise = np.random.default_rng(seed).integers(0, 255, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def centred(width: int, height: int, share: float) -> tuple[float, ...]:
    x, y = share * min(1, height / width) / 2, share * min(1, width / height) / 2
    return 0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y


def letterboxed(image: Image.Image, side: int = 120, fill: int = 114) -> torch.Tensor:
    scale = side / max(image.size)
    small = image.resize((round(image.width * scale), round(image.height * scale)))
    whole = Image.new("RGB", (side, side), (fill, fill, fill))
    whole.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return TO_TENSOR(whole)


def letterbox_frame(width: int, height: int) -> tuple[float, ...]:
    x, y = max(1, height / width) / 2, max(1, width / height) / 2
    return 0.5 - x, 0.5 - y, 0.5 + x, 0.5 + y


def albumentation(*steps):
    import albumentations

    whole = albumentations.Compose(list(steps))
    return lambda image: whole(image=np.array(image))["image"]


def processor():
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": 128}, crop_size={"height": 112, "width": 112})


def standardized(image: Image.Image) -> torch.Tensor:
    pixels = TO_TENSOR(CROPPED(image))
    return (pixels - pixels.mean()) / pixels.std()


def as_jpeg(image: Image.Image) -> torch.Tensor:
    file = io.BytesIO()
    CROPPED(image).save(file, "JPEG", quality=60)
    return TO_TENSOR(Image.open(file))


CROPS = {
    "compose": lambda: v1.Compose([CROPPED, TO_TENSOR, NORMALIZE]),
    "nested": lambda: v1.Compose([v1.Compose([v1.Compose([CROPPED]), TO_TENSOR]), NORMALIZE]),
    "sequential": lambda: lambda image: nn.Sequential(v1.Resize(128), v1.CenterCrop(112), NORMALIZE)(TO_TENSOR(image)),
    "v2": lambda: v2.Compose(
        [v2.ToImage(), v2.Resize(128), v2.CenterCrop(112), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [2])]
    ),
    "lambda": lambda: lambda image: functional.to_tensor(CROPPED(image)),
    "albumentations": lambda: albumentation(*_albumentations("SmallestMaxSize", 128), *_albumentations("CenterCrop", 112, 112)),
    "processor": processor,
    "sign and scale": lambda: lambda image: -300 * TO_TENSOR(CROPPED(image)) * torch.tensor([1, 0.1, -2])[:, None, None] + 7,
    "blue green red": lambda: lambda image: TO_TENSOR(CROPPED(image))[[2, 1, 0]] * 255 - 117,
    "grey": lambda: v1.Compose([v1.Grayscale(), CROPPED, TO_TENSOR]),
    "grey array (H, W)": lambda: lambda image: np.array(CROPPED(image).convert("L")),
    "array (H, W, 3)": lambda: lambda image: np.array(CROPPED(image)),
    "(1, 3, H, W)": lambda: lambda image: TO_TENSOR(CROPPED(image))[None],
    "hue": lambda: lambda image: TO_TENSOR(CROPPED(image).convert("HSV")),
    "gamma": lambda: lambda image: TO_TENSOR(CROPPED(image)) ** 2.2,
    "equalized": lambda: lambda image: TO_TENSOR(ImageOps.equalize(CROPPED(image))),
    "autocontrast": lambda: lambda image: TO_TENSOR(ImageOps.autocontrast(CROPPED(image))),
    "posterized": lambda: lambda image: TO_TENSOR(ImageOps.posterize(CROPPED(image), 2)),
    "log": lambda: lambda image: torch.log(TO_TENSOR(CROPPED(image)) + 0.01),
    "logit": lambda: lambda image: torch.logit(TO_TENSOR(CROPPED(image)).clamp(0.01, 0.99)),
    "black and white": lambda: lambda image: (TO_TENSOR(CROPPED(image)) > 0.5).float(),
    "half precision": lambda: lambda image: TO_TENSOR(CROPPED(image)).half(),
    "coordinates beside it": lambda: (
        lambda image: torch.cat([TO_TENSOR(CROPPED(image)), torch.linspace(0, 1, 112).expand(1, 112, 112)])
    ),
    "standardized": lambda: standardized,
    "jpeg": lambda: as_jpeg,
}


def _albumentations(name: str, *sizes: int):
    import albumentations

    return [getattr(albumentations, name)(*sizes)]


def found(transform, image: Image.Image) -> tuple[float, ...]:
    return TransformPlacement(transform).of(image, pixels_of(transform(image))).frame


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", CROPS)
def test_a_crop_is_found_whatever_the_colours_become(kind: str, size: tuple[int, int]) -> None:
    if kind == "albumentations":
        pytest.importorskip("albumentations")
    frame = found(CROPS[kind](), photo(size))
    assert frame == pytest.approx(centred(*size, 112 / 128), abs=0.012)


OTHERS = {
    "letterbox": (letterboxed, letterbox_frame),
    "white letterbox": (functools.partial(letterboxed, fill=255), letterbox_frame),
    "squeezed": (lambda image: TO_TENSOR(image.resize((90, 60))), lambda *_: (0, 0, 1, 1)),
    "28 x 28": (v1.Compose([v1.Grayscale(), v1.Resize((28, 28)), TO_TENSOR]), lambda *_: (0, 0, 1, 1)),
    "reflected": (
        v1.Compose([v1.Resize((80, 80)), v1.Pad(20, padding_mode="reflect"), TO_TENSOR]),
        lambda *_: (-0.25, -0.25, 1.25, 1.25),
    ),
    "edges repeated": (
        v1.Compose([v1.Resize((80, 80)), v1.Pad(10, padding_mode="edge"), TO_TENSOR]),
        lambda *_: (-0.125, -0.125, 1.125, 1.125),
    ),
    "crop larger than the photo": (
        v1.Compose([v1.CenterCrop(400), v1.Resize(100), TO_TENSOR]),
        lambda w, h: (0.5 - 200 / w, 0.5 - 200 / h, 0.5 + 200 / w, 0.5 + 200 / h),
    ),
    "corner": (lambda image: TO_TENSOR(image.crop((20, 10, 120, 90))), lambda w, h: (20 / w, 10 / h, 120 / w, 90 / h)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", OTHERS)
def test_padding_and_other_crops(kind: str, size: tuple[int, int]) -> None:
    transform, frame = OTHERS[kind]
    assert found(transform, photo(size)) == pytest.approx(frame(*size), abs=0.012)


@pytest.mark.parametrize("size", [(900, 100), (60, 500), (40, 30), (3, 900)])
def test_long_and_small_photos(size: tuple[int, int]) -> None:
    assert found(lambda image: TO_TENSOR(image.resize((64, 64))), photo(size)) == pytest.approx((0, 0, 1, 1), abs=0.02)
    if min(size) > 3:
        frame, wanted = found(functools.partial(letterboxed, side=224), photo(size)), letterbox_frame(*size)
        longest = max(wanted[2] - wanted[0], wanted[3] - wanted[1])
        assert frame == pytest.approx(wanted, abs=0.015 * longest)
    padded = v1.Compose([v1.CenterCrop(600), v1.Resize(200), TO_TENSOR])
    frame = found(padded, photo((60, 45)))
    assert frame == pytest.approx((-4.5, -6.167, 5.5, 7.167), abs=0.2)


def test_a_photo_that_exif_turns(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo((300, 200)).save(tmp_path / "photo.jpg", exif=exif)
    upright = load_image(tmp_path / "photo.jpg")
    assert upright.size == (200, 300)
    assert found(CROPS["compose"](), upright) == pytest.approx(centred(200, 300, 112 / 128), abs=0.005)


# ---- what is refused in words --------------------------------------------------------------------------------------------


def montage(image: Image.Image) -> torch.Tensor:
    small = TO_TENSOR(image.resize((50, 50)))
    return torch.cat([torch.cat([small, small], dim=1)] * 2, dim=2)


def perspective(image: Image.Image) -> torch.Tensor:
    corners = [[0, 0], [99, 0], [99, 99], [0, 99]]
    return functional.perspective(TO_TENSOR(image.resize((100, 100))), corners, [[15, 0], [84, 0], [99, 99], [0, 99]])


REFUSED = {
    "flipped": (lambda image: TO_TENSOR(ImageOps.mirror(image)), "mirrors photos"),
    "upside down": (lambda image: TO_TENSOR(ImageOps.flip(image)), "mirrors photos"),
    "turned by 180": (lambda image: TO_TENSOR(image.rotate(180)), "mirrors photos"),
    "turned by 90": (lambda image: TO_TENSOR(image.transpose(Image.Transpose.ROTATE_90)), "turns photos"),
    "turned by 10": (lambda image: TO_TENSOR(image.rotate(10)), "turns photos"),
    "montage": (montage, "puts parts of them together"),
    "perspective": (perspective, "warps photos"),
    "random crop": (v1.Compose([v1.RandomCrop(100), TO_TENSOR]), "moves or alters photos at random"),
    "random resized crop": (v2.Compose([v2.RandomResizedCrop(100), v2.PILToTensor()]), "moves or alters photos at random"),
    "random flip": (v1.Compose([v1.RandomHorizontalFlip(), TO_TENSOR]), "moves or alters photos at random"),
    "random turn": (v1.Compose([v1.RandomRotation(20), TO_TENSOR]), "moves or alters photos at random"),
    "python's random": (
        lambda image: functional.crop(TO_TENSOR(image), random.randrange(50), 0, 100, 100),
        "moves or alters photos at random",
    ),
    "nothing": (lambda image: torch.zeros(3, 20, 20), "it .* so where maps lie"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_has_no_place_is_refused(kind: str, size: tuple[int, int]) -> None:
    transform, message = REFUSED[kind]
    with pytest.raises(ValueError, match=f"preprocess: .*{message}.*pass placement="):
        found(transform, photo(size))


def test_transforms_with_a_random_state_of_their_own() -> None:
    pytest.importorskip("albumentations")
    for name, sizes in (("RandomCrop", (100, 100)), ("HorizontalFlip", ())):
        moved = albumentation(*_albumentations(name, *sizes))
        with pytest.raises(ValueError, match="at random"):
            [found(moved, photo((300, 200), seed)) for seed in range(8)]  # a flip is seen when it happens


def test_five_pictures_of_one_photo() -> None:
    five = v1.Compose([v1.FiveCrop(60), lambda crops: torch.stack([TO_TENSOR(crop) for crop in crops])])
    with pytest.raises(ValueError, match=r"got 5 pictures of it, \(5, 3, 60, 60\): leave out what cuts"):
        pixels_of(five(photo((300, 200))))
    with pytest.raises(ValueError, match="got tuple of 5 pictures"):
        pixels_of(v1.FiveCrop(60)(photo((300, 200))))
    with pytest.raises(ValueError, match=r"got Image: end it with ToTensor\(\)"):
        pixels_of(v1.Resize(60)(photo((300, 200))))
    with pytest.raises(ValueError, match="a dict with one of pixel_values"):
        pixels_of({"ids": 1})


# ---- random numbers, content -----------------------------------------------------------------------------------------------


def test_random_colours_are_said_and_the_random_state_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    noisy = v1.Compose([CROPPED, TO_TENSOR, lambda pixels: pixels + 0.1 * torch.randn_like(pixels)])
    image = photo((300, 200))
    pixels = noisy(image)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    with caplog.at_level(logging.WARNING):
        frame = TransformPlacement(noisy).of(image, pixels).frame
    assert frame == pytest.approx(centred(300, 200, 112 / 128), abs=0.01)
    assert "preprocess draws random numbers" in caplog.text
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()


def test_random_numbers_without_an_effect_are_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    never = v1.Compose([CROPPED, v1.RandomHorizontalFlip(p=0), TO_TENSOR])
    assert found(never, photo((300, 200))) == pytest.approx(centred(300, 200, 112 / 128), abs=0.01)
    assert not caplog.text


def trimmed(image: Image.Image) -> torch.Tensor:
    """Black margins cut off, as people do with scans."""
    ys, xs = np.where(np.asarray(image).max(axis=2) > 10)
    return TO_TENSOR(image.crop((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)).resize((96, 96)))


def test_a_crop_by_content_is_measured_on_the_photo() -> None:
    image = Image.new("RGB", (300, 200))
    image.paste(photo((150, 100)), (90, 60))
    assert found(trimmed, image) == pytest.approx((0.3, 0.3, 0.8, 0.8), abs=0.02)
    assert found(trimmed, photo((300, 200))) == pytest.approx((0, 0, 1, 1), abs=0.02)
    white = ImageOps.invert(image)
    assert found(lambda one: trimmed(ImageOps.invert(one)), white) == pytest.approx((0.3, 0.3, 0.8, 0.8), abs=0.02)


def test_a_crop_by_content_that_patterns_move_is_refused() -> None:
    def brightest(image: Image.Image) -> torch.Tensor:
        grey = np.asarray(image.convert("L").resize((30, 20)))
        y, x = np.unravel_index(grey.argmax(), grey.shape)
        left, top = min(x * 10, 200), min(y * 10, 100)
        return TO_TENSOR(image.crop((left, top, left + 100, top + 100)))

    right = refused = 0
    for seed in range(4):
        image = photo((300, 200), seed)
        pixels = brightest(image)
        try:
            frame = TransformPlacement(brightest).of(image, pixels).frame
        except ValueError as error:
            refused += "content" in str(error)
        else:
            left, top = round(300 * frame[0]), round(200 * frame[1])
            right += (TO_TENSOR(image.crop((left, top, left + 100, top + 100))) - pixels).abs().mean() < 0.05
    assert right + refused == 4


def test_a_transform_whose_settings_change_later_is_measured_again() -> None:
    resize, crop = v1.Resize(128), v1.CenterCrop(112)
    transform = v1.Compose([resize, crop, TO_TENSOR])
    measured, image = TransformPlacement(transform), photo((300, 200))
    assert measured.of(image, transform(image)).frame == pytest.approx(centred(300, 200, 112 / 128), abs=0.01)
    crop.size = (64, 64)
    assert measured.of(image, transform(image)).frame == pytest.approx(centred(300, 200, 64 / 128), abs=0.02)


def test_what_was_measured_is_kept() -> None:
    calls = []

    def counted(image: Image.Image) -> torch.Tensor:
        calls.append(image.size)
        return TO_TENSOR(CROPPED(image))

    measured = TransformPlacement(counted)
    image, pixels = photo((300, 200)), TO_TENSOR(CROPPED(photo((300, 200))))
    measured.of(image, pixels)
    first = len(calls)
    measured.of(photo((300, 200), 1), TO_TENSOR(CROPPED(photo((300, 200), 1))))
    assert len(calls) == first
    assert first < 10
    start = time.process_time()
    for _ in range(10):
        measured.of(image, pixels)
    assert (time.process_time() - start) / 10 < 0.05
