"""The families that are known: which adapter a checkpoint's `config.json` leads to. Data only: nothing is imported."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OLDEST = "5.18"  # the oldest version of transformers that is taken, as pyproject.toml says
TESTED = "5.23"  # the version of transformers that the tests ran with


@dataclass(frozen=True)
class Family:
    """What a family is listed as. `adapter` is `module:Class` in this package, `architectures` what `config.json` may say."""

    name: str
    task: str
    architectures: tuple[str, ...]
    adapter: str
    layer: str
    grid: str
    tokenizer: str
    memory: str  # weights of its smallest well-known checkpoint, about: from its published size
    head_alone: bool = True

    def load(self) -> Any:
        """The adapter's class."""
        module, _, name = self.adapter.partition(":")
        return getattr(importlib.import_module(f"{__package__}.{module}"), name)


FAMILIES: tuple[Family, ...] = (
    Family(
        "VisionEncoderDecoder (ViT-GPT2, Swin, Donut)",
        "captioning",
        ("VisionEncoderDecoderModel",),
        "ved:VisionEncoderDecoder",
        "the encoder's last block or stage",
        "H/16 for ViT, H/32 for Swin",
        "byte-level BPE, WordPiece or SentencePiece",
        "1 GB (ViT-GPT2, float32)",
    ),
    Family(
        "BLIP captioning",
        "captioning",
        ("BlipForConditionalGeneration",),
        "blip:BLIPCaptioner",
        "vision_model.encoder.layers[-1]",
        "24 x 24 at 384 px",
        "WordPiece",
        "1 GB (base, float32)",
    ),
    Family(
        "BLIP VQA",
        "vqa",
        ("BlipForQuestionAnswering",),
        "blip:BLIPReader",
        "vision_model.encoder.layers[-1]",
        "24 x 24 at 384 px",
        "WordPiece",
        "1.5 GB (base, float32)",
    ),
    Family(
        "GIT",
        "captioning, vqa",
        ("GitForCausalLM",),
        "git:GIT",
        "git.image_encoder.vision_model.encoder.layers[-1]",
        "14 x 14 at 224 px",
        "WordPiece",
        "0.7 GB (base, float32)",
    ),
    Family(
        "Florence-2",
        "captioning, vqa",
        ("Florence2ForConditionalGeneration",),
        "florence:Florence",
        "model.vision_tower.blocks[-1][-1]",
        "24 x 24 at 768 px",
        "byte-level BPE",
        "0.9 GB (base, float32)",
    ),
    Family(
        "FastVLM",
        "captioning, vqa",
        ("FastVlmForConditionalGeneration",),
        "fastvlm:FastVLM",
        "model.vision_tower.timm_model.final_conv",
        "16 x 16 at 1024 px",
        "byte-level BPE",
        "1.5 GB (0.5B, bfloat16)",
    ),
    Family(
        "Gemma 3n",
        "captioning, vqa",
        ("Gemma3nForConditionalGeneration",),
        "gemma3n:Gemma3n",
        "model.vision_tower.timm_model.msfa",
        "16 x 16 at 768 px",
        "SentencePiece",
        "11 GB (E2B, bfloat16)",
    ),
    Family(
        "Gemma 3",
        "captioning, vqa",
        ("Gemma3ForConditionalGeneration",),
        "gemma3:Gemma3",
        "model.vision_tower.encoder.layers[-1]",
        "64 x 64 at 896 px",
        "SentencePiece",
        "9 GB (4B, bfloat16)",
    ),
    Family(
        "LLaVA 1.5",
        "captioning, vqa",
        ("LlavaForConditionalGeneration",),
        "llava:LLaVA",
        "model.vision_tower.encoder.layers[vision_feature_layer]",
        "24 x 24 at 336 px",
        "SentencePiece",
        "14 GB (7B, float16)",
    ),
    Family(
        "LLaVA-NeXT (1.6)",
        "captioning, vqa",
        ("LlavaNextForConditionalGeneration",),
        "llava_next:LlavaNext",
        "model.vision_tower.encoder.layers[vision_feature_layer]",
        "24 x 24 a tile of 336 px",
        "SentencePiece",
        "15 GB (7B, float16)",
    ),
    Family(
        "LLaVA-OneVision",
        "captioning, vqa",
        ("LlavaOnevisionForConditionalGeneration",),
        "llava_next:LlavaNext",
        "model.vision_tower.encoder.layers[vision_feature_layer]",
        "27 x 27 a tile of 384 px",
        "byte-level BPE",
        "1.8 GB (0.5B, bfloat16)",
    ),
    Family(
        "InternVL",
        "captioning, vqa",
        ("InternVLForConditionalGeneration",),
        "internvl:InternVL",
        "model.vision_tower.encoder.layer[vision_feature_layer]",
        "32 x 32 a tile of 448 px",
        "byte-level BPE",
        "1.9 GB (1B, bfloat16)",
    ),
    Family(
        "Llama 4",
        "captioning, vqa",
        ("Llama4ForConditionalGeneration",),
        "llama4:Llama4",
        "vision_model.model.layers[-1]",
        "24 x 24 a tile of 336 px",
        "byte-level BPE",
        "220 GB (Scout, bfloat16)",
    ),
    Family(
        "PaliGemma",
        "captioning, vqa",
        ("PaliGemmaForConditionalGeneration",),
        "paligemma:PaliGemma",
        "model.vision_tower.encoder.layers[-1]",
        "16 x 16 at 224 px",
        "SentencePiece",
        "6 GB (3B, bfloat16)",
    ),
    Family(
        "BLIP-2",
        "captioning, vqa",
        ("Blip2ForConditionalGeneration",),
        "blip2:BLIP2",
        "vision_model.encoder.layers[-1]",
        "16 x 16 at 224 px",
        "byte-level BPE (OPT) or SentencePiece (T5)",
        "7.5 GB (OPT-2.7B, float16)",
    ),
    Family(
        "InstructBLIP",
        "captioning, vqa",
        ("InstructBlipForConditionalGeneration",),
        "blip2:InstructBLIP",
        "vision_model.encoder.layers[-1]",
        "16 x 16 at 224 px",
        "SentencePiece",
        "16 GB (Vicuna-7B, float16)",
    ),
    Family(
        "Kosmos-2",
        "captioning, vqa",
        ("Kosmos2ForConditionalGeneration",),
        "kosmos2:Kosmos2",
        "vision_model.model.encoder.layers[-1]",
        "16 x 16 at 224 px",
        "SentencePiece",
        "6.7 GB (1.7B, float32)",
    ),
    Family(
        "Qwen2-VL",
        "captioning, vqa",
        ("Qwen2VLForConditionalGeneration",),
        "qwen2vl:Qwen2VL",
        "model.visual.blocks[-1]",
        "H/14 x W/14, as the photo",
        "byte-level BPE",
        "4.5 GB (2B, bfloat16)",
    ),
    Family(
        "Pix2Struct",
        "captioning, vqa",
        ("Pix2StructForConditionalGeneration",),
        "pix2struct:Pix2Struct",
        "encoder.encoder.layer[-1]",
        "as the photo, 2048 cells at most",
        "SentencePiece",
        "1.1 GB (base, float32)",
    ),
    Family(
        "ViLT",
        "vqa",
        ("ViltForQuestionAnswering",),
        "vilt:ViLT",
        "vilt.encoder.layer[-1].layernorm_before",
        "H/32 x W/32, as the photo",
        "WordPiece; the answer is one of a list",
        "0.5 GB (float32)",
        head_alone=False,
    ),
    Family(
        "Idefics3, SmolVLM",
        "captioning, vqa",
        ("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
        "idefics3:Idefics3",
        "model.vision_model.encoder.layers[-1]",
        "26 x 26 a tile of 364 px (SmolVLM 32 x 32 of 512)",
        "byte-level BPE",
        "0.5 GB (SmolVLM-256M, bfloat16)",
    ),
    Family(
        "Qwen2.5-VL",
        "captioning, vqa",
        ("Qwen2_5_VLForConditionalGeneration",),
        "qwen2vl:Qwen25VL",
        "model.visual.blocks[-1]",
        "H/14 x W/14, as the photo",
        "byte-level BPE",
        "7.5 GB (3B, bfloat16)",
    ),
    Family(
        "Qwen3-VL, Qwen3-VL-MoE",
        "captioning, vqa",
        ("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
        "qwen3vl:Qwen3VL",
        "model.visual (its last block)",
        "H/16 x W/16, as the photo",
        "byte-level BPE",
        "4.3 GB (2B, bfloat16)",
    ),
    Family(
        "Qwen3.5",
        "captioning, vqa",
        ("Qwen3_5ForConditionalGeneration",),
        "qwen2vl:Qwen2VL",
        "model.visual.blocks[-1]",
        "H/16 x W/16, as the photo",
        "byte-level BPE",
        "2 GB a billion weights (bfloat16)",
    ),
)


GENERIC = Family(
    "anything else that is prompted with a photo",
    "captioning, vqa",
    (),
    "generic:Generic",
    "the tower's last that the words depend on, found by a photo of noise",
    "what the layer has",
    "the checkpoint's own",
    "2 GB a billion weights (bfloat16)",
)


def family_of(config: Mapping[str, Any], where: str, *, speaks: bool = False) -> Family:
    """The family of a `config.json`; `GENERIC` for one of none whose class is there and `speaks`, which is to say, generates.

    Raises ValueError that names the nearest family, or says that there is nothing to look at.
    """
    architectures = config.get("architectures") or []
    for family in FAMILIES:
        if set(architectures) & set(family.architectures):
            return family
    named = architectures[0] if architectures else str(config.get("model_type"))
    known = {architecture: family.name for family in FAMILIES for architecture in family.architectures}
    near = difflib.get_close_matches(named, known, n=3, cutoff=0.5)
    hint = f"near: {', '.join(near)}" if near else f"known are {', '.join(sorted(known))}"
    if not any(key.startswith(("vision", "image", "encoder", "qformer")) for key in config):
        raise ValueError(f"{where} holds {named}, which sees no photos (no vision_config in its config.json); {hint}")
    if speaks:
        return GENERIC
    raise ValueError(
        f"{where} holds {named}, for which there is no adapter; {hint}. Your own: load('module:function'), "
        "see docs/add-a-family.md"
    )
