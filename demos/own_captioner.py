"""Your own PyTorch captioner, explained: an encoder, a decoder, a list of words. Nothing to subclass, nothing to change.

The networks here are torchvision's ResNet-50 and an `nn.LSTM`, as thousands of repositories have them, with random weights:
put yours in their place. Run: `python demos/own_captioner.py photo.jpg`.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

WORDS = ["<start>", "<end>", "<unk>", "a", "dog", "cat", "runs", "sits", "on", "the", "grass", "sofa"]


class MyDecoder(nn.Module):
    """Somebody's decoder: mean-pooled features, then an LSTM over start token and words."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(2048, 256)
        self.embed = nn.Embedding(len(WORDS), 256)
        self.lstm = nn.LSTM(256, 256, batch_first=True)
        self.out = nn.Linear(256, len(WORDS))

    def forward(self, features: Tensor, ids: Tensor) -> Tensor:
        image = self.image(features.mean(dim=(2, 3)))[:, None]
        words = self.embed(torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1))
        states, _ = self.lstm(torch.cat([image, words], dim=1))
        logits: Tensor = self.out(states[:, 1:])
        return logits


def main(photo: str, text: str) -> None:
    encoder = nn.Sequential(*list(resnet50(weights=None).children())[:-2])
    decoder = MyDecoder()

    # From here on: all that multimodal-cam needs.
    import multimodal_cam as mc

    model = mc.captioner(encoder=encoder, decoder=decoder, tokenizer=WORDS, bos=0, eos=1, unk=2)
    explanation = mc.explain(model, photo, text=text)
    for word, part in zip(explanation.words, map(explanation.part, explanation.words), strict=True):
        print(f"{word.text:8} log p {part.log_prob:7.3f}   the photo's share {part.reliance:+.3f} nats   {tuple(part.map.shape)}")
    explanation.to_html("own_captioner.html")
    print("own_captioner.html")


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["data/samples/dog.jpg"]
    main(arguments[0], arguments[1] if len(arguments) > 1 else "a dog sits on the grass")
