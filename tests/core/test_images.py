"""Every kind of photo that people have, and every kind of mistake."""

from __future__ import annotations

import io
import logging
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from multimodal_cam.core.images import MAX_PIXELS, load_image
from multimodal_cam.core.stored_values import stored_values

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def gradient(width: int = 12, height: int = 8) -> Image.Image:
    """Red grows to the right, green downwards: every flip and turn is seen."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 40)], axis=-1).astype(np.uint8))


def png(width: int, height: int, *, bits: int, color: int, value: int) -> bytes:
    """A one-coloured PNG, written by hand: Pillow writes neither 16-bit colour nor huge images cheaply."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    sample = struct.pack(">H", value) if bits == 16 else bytes([value])
    row = b"\0" + (bytes(-(-width // 8)) if bits == 1 else sample * (width * channels))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * height)) + chunk(b"IEND", b"")


def close(image: Image.Image, other: Image.Image, tolerance: float = 3) -> bool:
    difference = np.asarray(image, dtype=float) - np.asarray(other.convert("RGB"), dtype=float)
    return image.size == other.size and bool(np.abs(difference).mean() <= tolerance)


# ---- what works ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [str, Path])
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.jpg")), ids=lambda path: path.stem)
def test_sample_photos_load_from_str_and_path(path: Path, source: type) -> None:
    image = load_image(source(path))
    assert image.mode == "RGB"
    assert max(image.size) <= 640


@pytest.mark.parametrize("size", [(1, 1), (3000, 40), (1, 500)])
def test_extreme_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "photo.png")
    image = load_image(tmp_path / "photo.png")
    assert image.size == size
    assert image.getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_modes_become_rgb(mode: str) -> None:
    converted = gradient().convert(mode)
    image = load_image(converted)
    assert image.mode == "RGB"
    assert close(image, converted)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_files(tmp_path: Path, suffix: str) -> None:
    Image.new("CMYK", (9, 9), (0, 255, 255, 0)).save(tmp_path / f"photo.{suffix}")
    red, green, blue = np.asarray(load_image(tmp_path / f"photo.{suffix}")).mean(axis=(0, 1))
    assert red > 240
    assert green < 15
    assert blue < 15


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"photo.{suffix}")
    image = np.asarray(load_image(tmp_path / f"photo.{suffix}"))
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_16_bit_pil_modes(mode: str) -> None:
    image = Image.new(mode, (2, 2), 32768)
    assert load_image(image).getpixel((0, 0)) == (128, 128, 128)


def test_16_bit_colour_png(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(4, 3, bits=16, color=2, value=0x8040))
    assert load_image(tmp_path / "photo.png").getpixel((0, 0)) == (128, 128, 128)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("top", "said"), [(255, "8-bit"), (1023, "10-bit"), (4095, "12-bit"), (16383, "14-bit"), (65535, "")])
def test_fewer_bits_in_16_bit_files_are_scaled_and_said(tmp_path: Path, suffix: str, top: int, said: str, caplog) -> None:
    values = np.linspace(0, top, 12).astype(np.uint16).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / f"photo.{suffix}")
    image = np.asarray(load_image(tmp_path / f"photo.{suffix}"))[..., 0]
    np.testing.assert_allclose(image, values * (255 / top), atol=0.51)
    assert (f"read as {said}, drawn with {top} as white" in caplog.text) if said else not caplog.text


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (2, 2, 3)])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.linspace(0, 1, 12, dtype=np.float32), "with 1 as white"),
        (np.linspace(0, 255, 12), "read as 8-bit, drawn with 255 as white"),
        (np.linspace(-1000, 3000, 12).astype(np.int16), "the lowest as black and the highest as white"),
        (np.linspace(-2, 2.5, 12, dtype=np.float32), "the lowest as black and the highest as white"),
        (np.linspace(0, 70_000, 12).astype(np.int32), "the lowest as black and the highest as white"),
        (np.linspace(0, 255, 12).astype(np.int64), "read as 8-bit, drawn with 255 as white"),
        (np.linspace(0, 4095, 12).astype(np.uint16), "read as 12-bit"),
    ],
)
def test_arrays_of_other_numbers_are_scaled_and_said(values, said: str, shape: tuple[int, ...], caplog) -> None:
    image = np.asarray(load_image(values.reshape(shape)))
    expected = np.linspace(0, 255, 12)
    np.testing.assert_allclose(image[..., : 3 if shape[-1] == 3 else 1].ravel(), expected, atol=1.01)
    assert len(caplog.records) == 1
    assert said in caplog.text


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_tiff_that_holds_bytes(tmp_path: Path, mode: str, caplog) -> None:
    Image.fromarray(np.arange(0, 256, 17, dtype=np.int32 if mode == "I" else np.float32).reshape(4, 4)).save(tmp_path / "x.tif")
    assert np.asarray(load_image(tmp_path / "x.tif"))[..., 0].ravel().tolist() == list(range(0, 256, 17))
    assert "read as 8-bit" in caplog.text


def test_the_bits_that_a_file_names_count(tmp_path: Path, caplog) -> None:
    Image.fromarray(np.array([[0, 100]], np.uint16)).save(tmp_path / "x.tif", tiffinfo={281: 4095})
    assert np.asarray(load_image(tmp_path / "x.tif"))[0, :, 0].tolist() == [0, 6]
    assert not caplog.text


def test_12_bits_in_16_bit_colours(tmp_path: Path, caplog) -> None:
    (tmp_path / "photo.png").write_bytes(png(4, 3, bits=16, color=2, value=2048))
    assert load_image(tmp_path / "photo.png").getpixel((0, 0)) == (128, 128, 128)
    assert "read as 12-bit" in caplog.text


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colours_are_read_whole(tmp_path: Path, suffix: str) -> None:
    cv2 = pytest.importorskip("cv2")
    colours = np.random.default_rng(0).integers(0, 65536, (30, 20, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"photo.{suffix}"), colours[..., ::-1])
    image = load_image(tmp_path / f"photo.{suffix}", raw=True)
    assert (stored_values(image) == colours).all()
    np.testing.assert_allclose(np.asarray(image), colours / 257, atol=0.51)


def test_16_bit_colours_with_transparency(tmp_path: Path, caplog) -> None:
    cv2 = pytest.importorskip("cv2")
    colours = np.full((4, 5, 4), 2048, np.uint16)
    colours[..., 3] = 65535
    colours[0, 0, 3] = 0
    cv2.imwrite(str(tmp_path / "photo.png"), colours)
    image = load_image(tmp_path / "photo.png", raw=True)
    assert (image.getpixel((1, 1)), image.getpixel((0, 0))) == ((128,) * 3, (255,) * 3)
    assert (stored_values(image) == colours).all()
    assert "read as 12-bit" in caplog.text
    assert "composited on white" in caplog.text
    (tmp_path / "grey.png").write_bytes(png(4, 3, bits=16, color=4, value=0x8040))
    assert load_image(tmp_path / "grey.png").mode == "RGB"
    assert "its upper 8 bits are read" in caplog.text


def test_grey_arrays_and_tensors() -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    for source in (grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None]):
        assert (np.asarray(load_image(source)) == grey[..., None]).all()
    colour = torch.from_numpy(np.array(gradient()))
    assert close(load_image(colour.permute(2, 0, 1)), gradient(), 0)
    assert close(load_image(colour), gradient(), 0)
    assert (np.asarray(load_image(grey > 5))[..., 0] == (grey > 5) * 255).all()


# ---- values as they are stored -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 2), (5, 6, 4), (5, 6, 7)])
def test_raw_arrays_are_kept(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    image = load_image(values, raw=True)
    assert (image.mode, image.size) == ("RGB", (6, 5))
    assert stored_values(image).dtype == dtype
    assert (stored_values(image) == values).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_raw_files_are_upright(tmp_path: Path, orientation: int) -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(values).save(tmp_path / "photo.png", exif=exif)
    image = load_image(tmp_path / "photo.png", raw=True)
    stored = stored_values(image)
    assert stored.dtype == np.uint16
    np.testing.assert_allclose(stored / 257, np.asarray(image)[..., 0], atol=0.51)


def test_of_other_photos_the_raw_values_are_their_own_8_bits(tmp_path: Path) -> None:
    gradient().save(tmp_path / "photo.png")
    assert (stored_values(load_image(tmp_path / "photo.png", raw=True)) == np.asarray(gradient())).all()
    assert stored_values(load_image(gradient().convert("L"), raw=True)).shape == (8, 12)
    assert stored_values(load_image(gradient().convert("P"), raw=True)).shape == (8, 12, 3)
    assert stored_values(load_image(gradient().convert("L"))).shape == (8, 12, 3)


def dicom(path: Path, values: np.ndarray, **tags: object) -> Path:
    pydicom = pytest.importorskip("pydicom")
    dataset = pydicom.dataset.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_dicom_within_its_window(tmp_path: Path, caplog) -> None:
    values = np.array([[-1000, -160, 40, 240, 2000, 0]], np.int16)
    path = dicom(tmp_path / "scan.dcm", values, WindowCenter=40, WindowWidth=400)
    assert np.asarray(load_image(path))[0, :, 0].tolist() == [0, 0, 128, 255, 255, 102]
    assert "DICOM, 12 bits, window 40 / 400" in caplog.text
    assert (stored_values(load_image(path, raw=True)) == values).all()


def test_dicom_without_a_window_and_inverted(tmp_path: Path) -> None:
    values = np.array([[100, 1100, 2100, 100]], np.uint16)
    inverted = dicom(tmp_path / "no_suffix", values, PhotometricInterpretation="MONOCHROME1", RescaleSlope=2, RescaleIntercept=-9)
    assert np.asarray(load_image(inverted))[0, :, 0].tolist() == [255, 128, 0, 255]
    frames = dicom(tmp_path / "frames.dcm", np.stack([values, values[:, ::-1]]), NumberOfFrames=2)
    assert np.asarray(load_image(frames))[0, :, 0].tolist() == [0, 128, 255, 0]


def test_dicom_that_is_none_or_lacks_its_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydicom")
    (tmp_path / "scan.dcm").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="no DICOM file that pydicom can read"):
        load_image(tmp_path / "scan.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImportError, match=r"pip install .multimodal-cam\[dicom\]"):
        load_image(tmp_path / "scan.dcm")


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0)), ("PA", (0, 0))])
def test_transparency_is_composited_on_white_and_said(
    mode: str, colour: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    assert load_image(Image.new(mode, (3, 3), colour)).getpixel((1, 1)) == (255, 255, 255)
    assert "composited on white" in caplog.text


def test_half_transparent_black_is_grey() -> None:
    assert load_image(Image.new("RGBA", (3, 3), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    palette = gradient().convert("P")
    palette.save(tmp_path / "photo.png", transparency=palette.getpixel((0, 0)))
    assert load_image(tmp_path / "photo.png").getpixel((0, 0)) == (255, 255, 255)


def test_an_opaque_alpha_channel_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    assert close(load_image(gradient().convert("RGBA")), gradient(), 0)
    assert not caplog.records


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_rotated_photos_are_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # what PIL does to the upright photo
    stored = gradient() if orientation == 1 else gradient().transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"photo.{suffix}", exif=exif, quality=100)
    image = load_image(tmp_path / f"photo.{suffix}")
    assert close(image, gradient(), 12)
    assert close(load_image(image), image, 0), "loading it again must not turn it again"
    assert close(load_image(Image.open(tmp_path / f"photo.{suffix}")), image, 0)


def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    gradient().save(tmp_path / "photo.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert load_image(tmp_path / "photo.jpg").size == (12, 8)


def test_the_first_frame_of_an_animation_is_used_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "photo.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "photo.gif").getpixel((0, 0)) == (255, 0, 0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "several frames: only the first is used" in caplog.text


def test_a_still_gif_is_not_worth_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gradient().save(tmp_path / "photo.gif")
    assert load_image(tmp_path / "photo.gif").size == (12, 8)
    assert not caplog.records


@pytest.mark.parametrize("name", ["two words.png", "café ñ 猫.png", "<b>bold & [red]x[red].png", "-rf.png", "no_suffix"])
def test_odd_file_names(tmp_path: Path, name: str) -> None:
    gradient().save(tmp_path / name, format="PNG")
    assert close(load_image(tmp_path / name), gradient(), 0)


def test_numpy_arrays_of_any_layout() -> None:
    array = np.asarray(gradient())
    assert close(load_image(array), gradient(), 0)
    assert close(load_image(array[:, ::-1]), gradient().transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0)


def test_100_megapixels_work_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(10_000, 10_000, bits=1, color=0, value=0))
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(record=True) as caught:
        assert load_image(tmp_path / "photo.png").size == (10_000, 10_000)
    assert not caught
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_users_image_is_not_touched() -> None:
    image = gradient().convert("RGBA")
    image.info["note"] = "mine"
    loaded = load_image(image)
    loaded.putpixel((0, 0), (9, 9, 9))
    assert image.mode == "RGBA"
    assert image.info == {"note": "mine"}
    assert image.getpixel((0, 0)) == (0, 0, 40, 255)
    assert load_image(loaded) is not loaded


def test_warning_filters_survive_many_threads(tmp_path: Path) -> None:
    gradient().save(tmp_path / "photo.png")
    before = list(warnings.filters)
    threads = [threading.Thread(target=lambda: [load_image(tmp_path / "photo.png") for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before


# ---- what is refused -------------------------------------------------------------------------------------


def test_missing_file() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file 'nowhere\.jpg' in .*: check the path"):
        load_image("nowhere.jpg")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory: give its photos"):
        load_image(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
        load_image(tmp_path / "photo.jpg")


@pytest.mark.parametrize("data", [b"hello, I am a text file", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"II*\0"])
def test_a_file_that_is_no_image(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "photo.jpg").write_bytes(data)
    with pytest.raises(ValueError, match=r"photo\.jpg' is (no image that Pillow can read|truncated or damaged)"):
        load_image(tmp_path / "photo.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp"])
def test_a_truncated_file(tmp_path: Path, suffix: str) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, format={"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    (tmp_path / f"photo.{suffix}").write_bytes(file.getvalue()[: len(file.getvalue()) // 2])
    with pytest.raises(ValueError, match=r"copy or download it again|no image that Pillow can read"):
        load_image(tmp_path / f"photo.{suffix}")


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nquit\n%%EOF\n",
        b"P6 2 2 255\n" + bytes(12),
        b"8BPS\0\1" + bytes(60),
        b"\0\0\1\0\1\0" + bytes(60),
        b"%PDF-1.4\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_no_format_but_the_documented_ones_is_opened(tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "photo.jpg").write_bytes(data)
    with pytest.raises(ValueError, match=r"photo\.jpg' is no image that Pillow can read as AVIF, .*: save it as JPEG or PNG"):
        load_image(tmp_path / "photo.jpg")


def test_a_file_of_too_many_bytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "photo.webp").open("wb") as file:
        file.write(b"RIFF\0\0\0\0WEBPVP8 ")
        file.truncate(40 * 2**30)
    with pytest.raises(ValueError, match=r"42,949,672,960 bytes, more than the 2,147,483,648 that are read"):
        load_image(tmp_path / "photo.webp")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", "is a data URL, not a path: decode it"),
        ("data:image/jpeg;base64," + "/9j/4AAQ" * 999, "is a data URL"),
        ("data:,x", "is a data URL"),
        (
            "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4/8/w38GIAXDIBKE0DHxgljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg==",
            "looks like",
        ),
        ("/9j/4AAQSkZJRgABAQ" * 500, "looks like base64"),
        ("iVBORw0K" * 40 + "\n" + "iVBORw0K" * 40, "looks like base64"),
        ("a photo of a dog, " * 30, r"is longer than file names can be \(540\)"),
        ("🐕" * 80 + ".jpg", "is longer than file names can be"),
        ("photo\0.jpg", "holds a null character"),
    ],
)
def test_a_string_that_is_no_path_is_said_to_be_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        load_image(text)
    assert len(str(caught.value)) < 250


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(ValueError, match="no regular file"):
        load_image(tmp_path / "photo.jpg")


@pytest.mark.parametrize("url", ["http://x.org/a.jpg", "https://x.org/a.jpg", "ftp://x/a"])
def test_urls_are_refused_in_words(url: str) -> None:
    with pytest.raises(ValueError, match="fetches nothing: download the file and give its path"):
        load_image(url)


def test_more_pixels_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(20_000, 9_000, bits=1, color=0, value=0))
    with pytest.raises(ValueError, match=f"more than {MAX_PIXELS:,} pixels, the most that is read: make it smaller"):
        load_image(tmp_path / "photo.png")


def test_arrays_and_images_obey_the_limit_too() -> None:
    array = np.lib.stride_tricks.as_strided(np.zeros(3, np.uint8), (20_000, 9_000, 3), (0, 0, 1))
    with pytest.raises(ValueError, match=f"more than {MAX_PIXELS:,} pixels"):
        load_image(array)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_sides_of_zero(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one each way"):
        load_image(Image.new("RGB", size))
    with pytest.raises(ValueError, match="at least one pixel each way"):
        load_image(np.zeros((*size, 3), np.uint8))


def test_nan_is_counted() -> None:
    array = np.zeros((4, 4, 3), np.float32)
    array[0, 0] = np.nan
    with pytest.raises(ValueError, match="float32 with 3 NaN or infinite values"):
        load_image(array)


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U3", "object"])
def test_arrays_of_no_numbers(dtype: str) -> None:
    with pytest.raises(TypeError, match="a photo has numbers"):
        load_image(np.zeros((4, 4, 3), dtype))


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((3, 40, 50), "channels last"),
        ((4, 5, 4), "transparency.*raw=True"),
        ((2, 4, 5, 3), "one photo"),
        ((4, 5, 7), "raw=True"),
        ((), ""),
    ],
)
def test_wrong_shapes_say_how_to_convert(shape: tuple[int, ...], how: str) -> None:
    with pytest.raises(ValueError, match=rf"got shape \({', '.join(map(str, shape))}.*{how}"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ([], "one photo"),
        (None, "NoneType"),
        (7, "int"),
    ],
)
def test_what_is_no_photo_at_all(source: object, how: str) -> None:
    with pytest.raises(TypeError, match=rf"expected a path, a PIL image or a numpy array or tensor.*{how}"):
        load_image(source)  # type: ignore[arg-type]
