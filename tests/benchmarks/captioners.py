"""The captioners that are measured: two of a user's own (random weights), and ours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models

import multimodal_cam as mc
from multimodal_cam.adapters.bundled import NICAdapter
from multimodal_cam.models.nic import NIC, NICConfig
from multimodal_cam.models.vocabulary import SPECIALS, Vocabulary

VOCABULARY = 2538  # words that Flickr8k's training captions hold five times or more
WORDS = [f"word{i}" for i in range(VOCABULARY)]


class LSTMDecoder(nn.Module):
    """What people write: an image vector, then one `nn.LSTMCell` step a word. `decoder(features, ids)` ->
    `(b, t, v)`."""

    def __init__(self, neck: nn.Module, channels: int, width: int = 512) -> None:
        super().__init__()
        self.neck = neck
        self.project = nn.Linear(channels, width)
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.cell = nn.LSTMCell(width, width)
        self.readout = nn.Linear(width, VOCABULARY)

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        state = self.cell(self.project(self.neck(features)))
        hidden = []
        for i in range(ids.shape[1]):
            hidden.append(state[0])
            state = self.cell(self.embedding(ids[:, i]), state)
        readout: Tensor = self.readout(torch.stack(hidden, dim=1))
        return readout


class FusedDecoder(LSTMDecoder):
    """The same with the fused `nn.LSTM`: cuDNN's, on a GPU."""

    def __init__(self, neck: nn.Module, channels: int, width: int = 512) -> None:
        super().__init__(neck, channels, width)
        self.cell = nn.LSTM(width, width, batch_first=True)  # type: ignore[assignment]

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        image = self.project(self.neck(features))[:, None]
        states, _ = self.cell(torch.cat([image, self.embedding(ids[:, :-1])], dim=1))
        readout: Tensor = self.readout(states)
        return readout


def resnet50(decoder: type[LSTMDecoder] = LSTMDecoder) -> Any:
    """ResNet-50, tapped at `layer4`, mean-pooled."""
    torch.manual_seed(0)
    encoder = nn.Sequential(*list(models.resnet50(weights=None).children())[:-2])
    neck = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return _captioner(encoder, decoder(neck, 2048), "resnet50", head_input_layer=neck)


def vgg16(decoder: type[LSTMDecoder] = LSTMDecoder) -> Any:
    """VGG-16, tapped at the ReLU of its last convolution; its fully connected layers (119 million weights)
    are the head's."""
    torch.manual_seed(0)
    network = models.vgg16(weights=None)
    neck = nn.Sequential(network.features[30], network.avgpool, nn.Flatten(), *network.classifier[:-1])
    return _captioner(network.features[:30], decoder(neck, 4096), "vgg16")


def _captioner(encoder: nn.Module, decoder: LSTMDecoder, name: str, head_input_layer: nn.Module | None = None) -> Any:
    return mc.captioner(
        encoder=encoder.eval(),
        decoder=decoder.eval(),
        tokenizer=WORDS,
        head_input_layer=head_input_layer,
        readout=decoder.readout,
        name=name,
    )


def nic(name: str = "nic") -> Any:
    """The bundled captioner, or, before there is one, the same network with random weights: times do not
    depend on them."""
    from multimodal_cam.models.bundle import bundled

    return mc.load(name, device="cpu") if name != "nic" or name in bundled() else random_nic()


def random_nic(max_words: int = 20) -> Any:
    """The network of `nic` with random weights, for texts as long as one likes."""
    torch.manual_seed(0)
    config = replace(NICConfig(VOCABULARY), max_words=max_words)
    words = Vocabulary((*SPECIALS, *WORDS[len(SPECIALS) :]))
    return NICAdapter(NIC(config).eval(), words, "nic, random weights")


def text(model: Any, words: int) -> str:
    """A text of so many different words that `model` knows."""
    known = model.vocabulary.words if hasattr(model, "vocabulary") else WORDS
    return " ".join(known[10 : 10 + words])


def photo(seed: int = 0, size: tuple[int, int] = (500, 375)) -> Image.Image:
    """Noise in the size of a Flickr photo: times do not depend on what it shows."""
    pixels = torch.randint(256, (size[1], size[0], 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.numpy())


def forward(model: Any, images: list[Image.Image], caption: str) -> Tensor:
    """One plain pass from the same PIL images that `explain` gets: preprocessing, encoder, teacher-forced
    head; no graph."""
    with torch.no_grad():
        ids = model.tokenize([caption] * len(images))
        logits: Tensor = model.logits(model.preprocess(images), ids)
    return logits
