"""Why are this picture and this text similar? `explain_score` on two towers that learn from pairs, as CLIP does.

Each picture shows two coloured squares, its text names the two colours; nobody says which square is which. The towers learn in
seconds what goes with what; the map of "red" then lies on the red square.
Run: `python demos/similarity.py`; it prints the similarities and writes `similarity.png`.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "purple": (1, 0, 1), "white": (1, 1, 1)}


def pairs(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures `(n, 3, 32, 32)`, the two colours that their texts name `(n, 2)`, and where these squares begin `(n, 2, 2)`."""
    pictures, words = torch.zeros(n, 3, 32, 32), torch.stack([torch.randperm(len(COLOURS))[:2] for _ in range(n)])
    corners = torch.randint(0, 12, (n, 2, 2)) + torch.tensor([[0, 0], [14, 14]])  # they never touch
    for picture, colours, places in zip(pictures, words, corners, strict=True):
        for colour, (row, column) in zip(colours, places.tolist(), strict=True):
            picture[:, row : row + 6, column : column + 6] = torch.tensor([*COLOURS.values()][colour])[:, None, None]
    return pictures, words, corners


def main() -> None:
    torch.manual_seed(0)
    grid = nn.Sequential(nn.Conv2d(3, 16, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, padding=1), nn.ReLU())
    image_tower = nn.Sequential(grid, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 16))
    text_tower = nn.EmbeddingBag(len(COLOURS), 16)  # a text is the mean of its words

    def similarity(pictures: Tensor, texts: Tensor) -> Tensor:
        return F.normalize(image_tower(pictures), dim=1) @ F.normalize(text_tower(texts), dim=1).T

    optimizer = torch.optim.Adam([*image_tower.parameters(), *text_tower.parameters()], 5e-3)
    for _ in range(200):
        pictures, words, _ = pairs(64)
        loss = F.cross_entropy(10 * similarity(pictures, words), torch.arange(64))  # each picture with its own text
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # From here on: all that multimodal-cam needs.
    import multimodal_cam as mc

    pictures, words, corners = pairs(1)
    texts = torch.arange(len(COLOURS))[:, None]  # every colour is a text of one word
    maps = mc.explain_score(similarity, grid, (pictures, texts), method="hires_cam")[0]  # (6 texts, 8, 8)
    for colour, (row, column) in zip(words[0].tolist(), corners[0].tolist(), strict=True):
        name, peak = [*COLOURS][colour], divmod(int(maps[colour].argmax()), 8)
        value = similarity(pictures, texts)[0, colour].item()
        print(f"{name}: similarity {value:.2f}, square at {(row + 2.5, column + 2.5)}, map at {tuple(4 * i + 1.5 for i in peak)}")
    shown = [maps[colour].clamp(min=0) / maps[colour].max() for colour in words[0]]
    heat = torch.cat(shown, dim=1).repeat_interleave(4, 0).repeat_interleave(4, 1).expand(3, -1, -1)
    picture = torch.cat([pictures[0], heat], dim=2).permute(1, 2, 0)  # the picture, and a map for each of its colours
    Image.fromarray((255 * picture).byte().numpy()).resize((768, 256), Image.Resampling.NEAREST).save("similarity.png")
    print("similarity.png")


if __name__ == "__main__":
    main()
