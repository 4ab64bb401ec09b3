"""Small networks for tests: a captioner with random weights, and a planted one whose words have known evidence."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import multimodal_cam as mc

WORDS = ["<bos>", "<eos>", "<unk>", "a", "dog", "runs", "on", "grass", "red", "ball"]
SIDE = 32
COLOURS = {"red": (220, 0, 0), "green": (0, 220, 0), "blue": (0, 0, 220), "white": (220, 220, 220)}


class Encoder(nn.Module):
    """`(b, 3, 32, 32)` -> `(b, 6, 4, 4)`, ReLU at the end, in place as torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 6, 3, stride=2, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.relu_(self.last(torch.tanh(self.norm(self.first(pixels)))))


class Decoder(nn.Module):
    """Mean over cells (or all cells, `pool=False`), then an `nn.LSTMCell`; position `i` scores `ids[:, i]`."""

    def __init__(self, pool: bool = True, words: int = len(WORDS), width: int = 16) -> None:
        super().__init__()
        self.pool: nn.Module = nn.AdaptiveAvgPool2d(1) if pool else nn.Identity()
        self.image = nn.Linear(6 if pool else 6 * 16, width)
        self.embed = nn.Embedding(words, width)
        self.cell = nn.LSTMCell(width, width)
        self.readout = nn.Linear(width, words)

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        inputs = self.embed(torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1))
        state = self.cell(self.image(self.pool(features).flatten(1)).tanh())
        outputs = []
        for step in inputs.unbind(dim=1):
            state = self.cell(step, state)
            outputs.append(state[0])
        return self.readout(torch.stack(outputs, dim=1))


class FusedDecoder(Decoder):
    """The same with the fused `nn.LSTM`, as most people write it."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 16, batch_first=True)

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        inputs = self.embed(torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1))
        image = self.image(self.pool(features).flatten(1)).tanh()
        states, _ = self.lstm(torch.cat([image[:, None], inputs], dim=1))
        return self.readout(states[:, 1:])


def small_captioner(seed: int = 0, decoder: nn.Module | None = None, cuts: bool = True, **options):
    """A captioner with random, not too small weights, so that its words differ."""
    torch.manual_seed(seed)
    encoder, decoder = Encoder(), decoder or Decoder()
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *decoder.parameters()]:
            if parameter.ndim > 1:
                parameter.mul_(4)
    cut = {"head_input_layer": decoder.pool, "readout": decoder.readout} if cuts else {}
    return mc.captioner(
        encoder=encoder, decoder=decoder, tokenizer=WORDS, bos=0, eos=1, unk=2, image_size=SIDE, max_words=8, **cut, **options
    )


class ColourEncoder(nn.Module):
    """Channel `c` of cell `(i, j)` says how much of colour `c` is there: `(b, 3, 32, 32)` in 0..1 -> `(b, 4, 4, 4)`."""

    def forward(self, pixels: Tensor) -> Tensor:
        cells = nn.functional.avg_pool2d(pixels, SIDE // 4)
        white = cells.amin(dim=1, keepdim=True)
        return torch.cat([cells - white, white], dim=1).relu()


class QuadrantDecoder(nn.Module):
    """Word `i` of red, green, blue, white is said in so far as its colour is in its own quadrant (NW, NE, SW, SE)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(4.0))

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        halves = features.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean(dim=(3, 5))  # (b, c, 2, 2)
        logits = self.weight * halves.flatten(2).diagonal(dim1=1, dim2=2)  # channel i, quadrant i
        return logits[:, None].expand(-1, ids.shape[1], -1)


def to_tensor(image: Image.Image) -> Tensor:
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), dtype="float32")
    return torch.from_numpy(small / 255).permute(2, 0, 1)


def planted_captioner():
    return mc.captioner(encoder=ColourEncoder(), decoder=QuadrantDecoder(), tokenizer=list(COLOURS), preprocess=to_tensor)


def quadrant_image(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Red NW, green NE, blue SW, white SE."""
    image = Image.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for i, colour in enumerate(COLOURS.values()):
        corner = (i % 2 * width, i // 2 * height)
        image.paste(colour, (*corner, corner[0] + width, corner[1] + height))
    return image


def noise_image(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


QUESTION_WORDS = ["<unk>", "what", "colour", "is", "top", "bottom", "left", "right"]


class QuadrantReader(nn.Module):
    """The answer is the colour of the quadrant that the question names (`top left`); other words say nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(QUESTION_WORDS), 4)
        with torch.no_grad():
            self.embedding.weight.zero_()
            self.embedding.weight[4:] = 6 * torch.eye(4)

    def forward(self, features: Tensor, question: Tensor) -> Tensor:
        words = self.embedding(question.clamp(min=0)) * (question >= 0)[..., None]
        rows, columns = words.sum(dim=1).view(-1, 2, 2).softmax(dim=-1).unbind(dim=1)
        halves = features.unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean(dim=(3, 5))  # (b, c, 2, 2)
        return 4 * torch.einsum("bcij,bi,bj->bc", halves, rows, columns)


def planted_vqa(**options):
    reader = QuadrantReader()
    return mc.vqa(
        encoder=ColourEncoder(),
        head=reader,
        answers=list(COLOURS),
        tokenizer=QUESTION_WORDS,
        unk=0,
        question_layer=reader.embedding,
        preprocess=to_tensor,
        **options,
    )


class Reader(nn.Module):
    """Mean over cells times the question's LSTM, a hidden layer, answers."""

    def __init__(self, answers: int = 4, width: int = 16) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.image = nn.Linear(6, width)
        self.embedding = nn.Embedding(len(QUESTION_WORDS), width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.readout = nn.Linear(width, answers)

    def forward(self, features: Tensor, question: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(question.clamp(min=0)))
        last = states[torch.arange(len(states)), (question >= 0).sum(dim=1) - 1]
        return self.readout(torch.tanh(self.image(self.pool(features).flatten(1)) * last))


def small_vqa(seed: int = 0, **options):
    """A VQA network with random, not too small weights."""
    torch.manual_seed(seed)
    encoder, head = Encoder(), Reader()
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *head.parameters()]:
            if parameter.ndim > 1:
                parameter.mul_(4)
    options = {"head_input_layer": head.pool, "question_layer": head.embedding} | options
    return mc.vqa(encoder=encoder, head=head, answers=list(COLOURS), tokenizer=QUESTION_WORDS, unk=0, image_size=SIDE, **options)
