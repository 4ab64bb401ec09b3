"""Which part of the screen made a policy choose its action? `explain_score` asks any network about any number.

The policy learns, in seconds, to step towards the bright square and to leave the dim one alone.
Run: `python demos/policy.py`; it prints what it did and writes `policy.png`.
"""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn

ACTIONS = ["up", "down", "left", "right"]
STEPS = torch.tensor([[-1.0, 0], [1, 0], [0, -1], [0, 1]])  # (row, column)


def game(n: int) -> tuple[Tensor, Tensor]:
    """Screens `(n, 1, 32, 32)` and where the bright square's corner is, `(n, 2)`; the player stands in the middle."""
    screens, corners = torch.zeros(n, 1, 32, 32), torch.randint(0, 28, (2, n, 2))
    for brightness, where in zip((0.4, 1.0), corners, strict=True):
        for screen, (row, column) in zip(screens, where.tolist(), strict=True):
            screen[0, row : row + 4, column : column + 4] = brightness
    return screens, corners[1]


def main() -> None:
    torch.manual_seed(0)
    eyes = nn.Sequential(nn.Conv2d(1, 16, 5, 2, padding=2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, padding=1), nn.ReLU())
    policy = nn.Sequential(eyes, nn.Flatten(), nn.Linear(32 * 8 * 8, 4))
    optimizer = torch.optim.Adam(policy.parameters(), 2e-3)
    for _ in range(200):
        screens, squares = game(64)
        reward = (squares + 1.5 - 15.5) @ STEPS.T / 16  # how much nearer each action brings the player
        loss = -(policy(screens).softmax(dim=1) * reward).sum(dim=1).mean()  # the policy gradient of all four actions
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    # From here on: all that multimodal-cam needs.
    import multimodal_cam as mc

    screen, square = game(1)
    action = int(policy(screen).argmax())
    maps = mc.explain_score(policy, eyes, screen, method="hires_cam")  # (1, 4 actions, 8, 8)
    row, column = divmod(int(maps[0, action].argmax()), 8)
    print(f"bright square at {tuple((square[0] + 1.5).tolist())}, action {ACTIONS[action]}")
    print(f"what spoke for {ACTIONS[action]} most is at {(4 * row + 1.5, 4 * column + 1.5)}")
    heat = maps[0, action].clamp(min=0) / maps[0, action].max()
    picture = torch.stack([heat.repeat_interleave(4, 0).repeat_interleave(4, 1), screen[0, 0], screen[0, 0]], dim=2)
    Image.fromarray((255 * picture).byte().numpy()).resize((256, 256), Image.Resampling.NEAREST).save("policy.png")
    print("policy.png")


if __name__ == "__main__":
    main()
