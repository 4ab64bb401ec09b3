"""What the tiny models share: weights that make words and photos differ, small configurations, what a test case says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SIDE = 32
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
# where nothing else keeps softmax from being all or nothing
SHARP = ("SelfAttention.q", "EncDecAttention.q", "_attention.attention.query", "qformer")
CALM = ("vision", "visual", "encoder.layers", "encoder.encoder.layer", "image_encoder", "vision_tower")
INNER = ("attn", "attention", "mlp", "intermediate", "output", "fc1", "fc2", "token_mixer", ".se.")
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}"
    "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def lively(model: Any, seed: int = 0) -> Any:
    """Larger random weights, so that words and photos differ; inside the tower's blocks small ones, so that cells stay apart."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            calm = any(part in name for part in CALM) and any(part in name for part in INNER)
            calm = calm or any(part in name for part in SHARP)
            if weight.ndim > 1:
                weight.copy_(noise * (0.2 if calm else 1.5) / weight[0].numel() ** 0.5)
                if weight.ndim == 4 and any(part in name for part in CALM) and "patch_embed" not in name:
                    middle = weight.shape[2] // 2, weight.shape[3] // 2  # convolutions look at their own place
                    weight[:, :, *middle] = noise[:, :, *middle] * (0.2 if calm else 1.5) / weight.shape[1] ** 0.5
                    if weight[0, 0].numel() > 1:
                        weight[weight != weight[:, :, middle[0], middle[1]][..., None, None]] *= 0.1
            elif not weight.any() and "timm_model" not in name:
                weight.copy_(noise * 0.05)
    return model


@dataclass(frozen=True)
class Case:
    """A family in the contract test: how to build it, and what is expected of it."""

    name: str
    build: Callable[[Path], None]
    layer: str
    grid: tuple[int, int]
    question: str | None = None
    text: str = "a brown dog runs on the grass."
    double: bool = True  # whether .double() makes all of it float64
    unplaced: bool = False
    local: bool = True  # whether a cell sees its own part of the photo best; else its quadrant does
    grey: bool = True  # whether a photo of the mean colour, but for rounding, is as good as none
    n_steps: int = 64  # that evidence needs to add up
    chooses: bool = False  # an answer out of a list, in one token
    beams: bool = True  # whether the model's own generate searches with beams
    slow: bool = False  # a variant of another case
    ask: Callable[[Any, Any, str | None], dict[str, Any]] | None = None  # as people call generate: (processor, image, question)


def save(folder: Path, model: Any, *parts: Any, loud: tuple[str, float] | None = None) -> None:
    """Writes a checkpoint; `loud` makes the weights of one name larger, where the photo is hardly heard behind them."""
    model.generation_config.max_new_tokens = 6
    lively(model)
    if loud is not None:
        with torch.no_grad():
            model.get_parameter(loud[0]).mul_(loud[1])
    model.save_pretrained(folder)
    for part in parts:
        part.save_pretrained(folder)


def as_processed(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """The whole processor's output, question included."""
    return dict(processor(images=image, text=question, return_tensors="pt"))


def asked_in_chat(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """As the documentation of chat models does it."""
    content = [{"type": "image"}, {"type": "text", "text": question or "Describe the photo in one sentence."}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return dict(processor(images=image, text=text, return_tensors="pt"))


def clip_images(side: int = SIDE, **options: Any) -> Any:
    """Shorter side resized, centre cropped."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}, **options)


def small_vit(kind: str, **more: Any) -> dict[str, Any]:
    return dict(model_type=kind, **TINY, image_size=SIDE, patch_size=8, **more)


def qwen2(tokenizer: Any) -> dict[str, Any]:
    return dict(
        model_type="qwen2",
        vocab_size=len(tokenizer),
        **TINY,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def llama(tokenizer: Any) -> dict[str, Any]:
    return qwen2(tokenizer) | {"model_type": "llama"}
