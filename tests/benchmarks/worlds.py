"""`familiarity`: whether the bundled captioner tells photos of other worlds from dev photos."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Measurement, Section
from PIL import Image, ImageDraw, ImageFont
from quality import folder, progress

import multimodal_cam as mc
from multimodal_cam.data.readers.caption_file import read_captions, read_split
from multimodal_cam.metrics.calibration import auroc

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
OTHER_PHOTOS = ("chelsea", "coffee")  # of the samples: a cat, a cup
SCIKIT_IMAGE = (  # used where it is installed; versions before 0.22 bring all of them
    *("rocket.jpg", "coins.png", "moon.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg"),
    *("motorcycle_left.png", "color.png", "clock_motion.png", "cell.png"),
)
SIZE = (500, 375)
DRAWN = 20  # images of each kind that is made up
BATCH = 25
Random = np.random.Generator


def familiarity(model: str, data: Path, photos: int | None, **_: Any) -> Iterator[Measurement]:
    adapter: Any = mc.load(model)
    images = folder(data, "images", "images.tar")
    names = read_split(data / "dev_images.txt", read_captions(data / "captions.txt"))[:photos]
    own, threshold = distances(adapter, [lambda name=name: Image.open(images / name).convert("RGB") for name in names])
    yield Measurement(
        "familiarity dev", {"threshold": f"{threshold:.2f}", "called unfamiliar": f"{(own > threshold).mean():.3f}"}
    )
    found = {kind: distances(adapter, opened)[0] for kind, opened in other_worlds().items()}
    for kind, far in [*found.items(), ("all", np.concatenate([*found.values()]))]:
        labels = np.repeat([0, 1], [len(own), len(far)])
        values = {
            "AUROC": f"{auroc(np.concatenate([own, far]), labels):.3f}",
            "called unfamiliar": f"{(far > threshold).mean():.2f}",
        }
        yield Measurement(f"familiarity {kind}", values, {"images": str(len(far))})


def distances(adapter: Any, opened: list[Callable[[], Image.Image]]) -> tuple[np.ndarray, float]:
    """Distance of each image, and the threshold."""
    found, report = [], progress("familiarity")
    for start in range(0, len(opened), BATCH):
        told = adapter.familiarity(adapter.preprocess([image() for image in opened[start : start + BATCH]]))
        if told is None:
            raise SystemExit(f"{adapter.name} has no fit: multimodal-cam train familiarity makes one")
        found += told
        report(len(found), len(opened))
    return np.array([one.distance for one in found]), found[0].threshold


def other_worlds() -> dict[str, list[Callable[[], Image.Image]]]:
    """Images of each kind, each made or opened when it is wanted: the same ones every time."""
    files = [SAMPLES / f"{name}.jpg" for name in OTHER_PHOTOS]
    if (found := find_spec("skimage")) and found.origin:
        files += [path for name in SCIKIT_IMAGE if (path := Path(found.origin).parent / "data" / name).is_file()]
    made = {"drawings": shapes, "texts": text, "charts": chart, "textures": texture, "noise": noise}
    return {"photos": [lambda file=file: Image.open(file).convert("RGB") for file in files]} | {
        kind: [lambda make=make, i=i: make(i, np.random.default_rng(i)) for i in range(DRAWN)] for kind, make in made.items()
    }


def shapes(_: int, random: Random) -> Image.Image:
    """A drawing: ellipses, rectangles and lines in plain colours."""
    image = Image.new("RGB", SIZE, colour(random))
    draw = ImageDraw.Draw(image)
    for _shape in range(int(random.integers(3, 25))):
        x, y, width, height = (int(value) for value in random.integers((0, 0, 10, 10), (*SIZE, 200, 200)))
        [draw.ellipse, draw.rectangle, draw.line][int(random.integers(3))]((x, y, x + width, y + height), fill=colour(random))
    return image


def text(i: int, random: Random) -> Image.Image:
    """A screenshot of text, dark on light or light on dark."""
    ink, paper = ((20, 20, 20), (255, 255, 255)) if i % 2 else ((230, 230, 230), (20, 22, 30))
    image = Image.new("RGB", SIZE, paper)
    size = int(random.integers(11, 26))
    words = __doc__.split()
    for y in range(5, SIZE[1], int(1.4 * size)):
        line = " ".join(random.choice(words, int(random.integers(3, 14))))
        ImageDraw.Draw(image).text((8, y), line, fill=ink, font=ImageFont.load_default(size))
    return image


def chart(i: int, random: Random) -> Image.Image:
    """A chart that matplotlib draws: lines, bars, points, a pie, a heatmap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.75))
    axes = figure.subplots()
    match i % 5:
        case 0:
            axes.plot(random.normal(size=(50, 3)).cumsum(axis=0))
        case 1:
            axes.bar(range(8), random.random(8))
        case 2:
            axes.scatter(*random.normal(size=(2, 200)), c=random.random(200))
        case 3:
            axes.pie(random.random(5), labels=[*"abcde"])
        case _:
            axes.imshow(random.normal(size=(20, 20)).cumsum(axis=0))
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    return Image.open(file).convert("RGB")


def texture(i: int, random: Random) -> Image.Image:
    """A plain colour, a gradient, a chequered pattern or waves."""
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    one, other = np.array(colour(random)), np.array(colour(random))
    width = int(random.integers(4, 60))
    share = [0 * x, x / SIZE[0], (x // width + y // width) % 2, np.sin((x + random.random() * y) / width) / 2 + 0.5][i % 4]
    return Image.fromarray((share[..., None] * one + (1 - share[..., None]) * other).astype(np.uint8))


def noise(i: int, random: Random) -> Image.Image:
    """White noise in colour, coarse or fine, or faint and grey."""
    coarse = [1, 8, 16, 1][i % 4]
    pixels = random.integers(0, 256, (SIZE[1] // coarse, SIZE[0] // coarse, 3), dtype=np.uint8)
    if i % 4 == 3:
        pixels = np.repeat(pixels[..., :1] // 4 + 96, 3, axis=2)
    return Image.fromarray(pixels).resize(SIZE)


def colour(random: Random) -> tuple[int, ...]:
    return tuple(int(value) for value in random.integers(0, 256, 3))


FAMILIARITY_SECTION = Section(
    "Photos of other worlds",
    "Mahalanobis distance of the mean cell (`e.familiarity`): AUROC between the photos of Flickr8k's dev split and images unlike "
    "them: photos of other things (a cat, a cup, and scikit-image's where that is installed), drawings, screenshots of text, "
    "charts, textures and noise; and the share that is called unfamiliar.",
    familiarity,
)
