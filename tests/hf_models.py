"""Tiny Hugging Face models with random weights, each with a processor and a tokenizer made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "a brown dog runs on the green grass .",
    "two dogs don't play with a red ball .",
    "a man in a blue shirt holds a frisbee , and a child laughs .",
    "what colour is the dog ? brown",
    "how many dogs are there ? two",
    "describe the photo",
    "user assistant : yes no white black left right",
]
SIDE = 32


def byte_level(bos: str = "<s>", eos: str = "</s>", **names: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2, BART, Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys([bos, eos, "<pad>", *names.values()]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos, pad_token="<pad>", extra_special_tokens=names
    )


def word_piece() -> PreTrainedTokenizerFast:
    """WordPiece, as BERT, with [CLS] and [SEP] around a text; not trained, because that gives other ids every time."""
    from transformers import BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = sorted(set("".join(CORPUS)) - {" "})
    pieces = [
        "br",
        "##own",
        "gr",
        "##ass",
        "run",
        "##s",
        "dog",
        "##isbee",
        "col",
        "##our",
        "ball",
        "many",
        "the",
        "two",
        "what",
        "on",
    ]
    vocabulary = dict.fromkeys([*special, *characters, *(f"##{c}" for c in characters), *pieces])
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ids)
    return BertTokenizerFast(tokenizer_object=tokenizer)


def sentence_piece(**names: str) -> PreTrainedTokenizerFast:
    """SentencePiece's BPE with byte fallback, as Llama and Gemma."""
    special = ["<unk>", "<s>", "</s>", "<pad>", *names.values()]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁?[^▁]+"), "isolated")  # no token reaches into the next word
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in CORPUS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens=names,
    )


SHARP = ("SelfAttention.q", "EncDecAttention.q", "qformer")  # where nothing else keeps softmax from being all or nothing
CALM = ("vision", "visual", "encoder.layers", "encoder.encoder.layers", "image_encoder", "vision_tower")
INNER = ("attn", "attention", "mlp", "intermediate", "output", "fc1", "fc2", "token_mixer", ".se.")


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
    nodes: int = 64  # that evidence needs to add up
    chooses: bool = False  # an answer out of a list, in one token
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


# ---- VisionEncoderDecoder --------------------------------------------------------------------------------------------------


def _gpt2(tokenizer: Any) -> Any:
    from transformers import GPT2Config

    return GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=64,
        n_embd=32,
        n_layer=2,
        n_head=2,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _ved(folder: Path, encoder: Any, processor: Any) -> None:
    from transformers import VisionEncoderDecoderConfig, VisionEncoderDecoderModel

    tokenizer = byte_level(bos="<|endoftext|>", eos="<|endoftext|>")
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, _gpt2(tokenizer))
    config.decoder_start_token_id, config.pad_token_id = tokenizer.bos_token_id, tokenizer.pad_token_id
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = tokenizer.bos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor, tokenizer)


def ved_vit(folder: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessor

    encoder = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIDE, patch_size=8
    )
    _ved(folder, encoder, ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def ved_swin(folder: Path) -> None:
    from transformers import SwinConfig, ViTImageProcessor

    encoder = SwinConfig(image_size=SIDE, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    _ved(folder, encoder, ViTImageProcessor(size={"height": SIDE, "width": SIDE}))


def ved_donut(folder: Path) -> None:
    from transformers import DonutImageProcessor, DonutSwinConfig

    encoder = DonutSwinConfig(
        image_size=[SIDE, 2 * SIDE], patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    _ved(folder, encoder, DonutImageProcessor(size={"height": SIDE, "width": 2 * SIDE}))


# ---- BLIP, GIT -------------------------------------------------------------------------------------------------------------


def _blip(folder: Path, name: str) -> None:
    import transformers
    from transformers import BlipConfig, BlipImageProcessor, BlipProcessor

    tokenizer = word_piece()
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("pad", "sep")}
    config = BlipConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=32,
            encoder_hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            **ids,
        ),
        vision_config=dict(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIDE, patch_size=8
        ),
        projection_dim=16,
    )
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    save(folder, getattr(transformers, name)(config), BlipProcessor(images, tokenizer))


def blip_caption(folder: Path) -> None:
    _blip(folder, "BlipForConditionalGeneration")


def blip_vqa(folder: Path) -> None:
    _blip(folder, "BlipForQuestionAnswering")


def as_processed(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """The whole processor's output, question included."""
    return dict(processor(images=image, text=question, return_tensors="pt"))


def git(folder: Path) -> None:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    tokenizer = word_piece()
    config = GitConfig(
        vision_config=dict(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIDE, patch_size=8
        ),
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    save(folder, GitForCausalLM(config), GitProcessor(images, tokenizer))


def git_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """As GIT's documentation asks questions: [CLS] in front, no [SEP]."""
    words = processor.tokenizer
    ids = [words.cls_token_id, *(words(question, add_special_tokens=False).input_ids if question else [])]
    pixels = processor(images=image, return_tensors="pt").pixel_values
    return {"pixel_values": pixels, "input_ids": torch.tensor([ids])}


# ---- CNN towers: Florence-2, FastVLM, Gemma 3n -----------------------------------------------------------------------------

CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{% for c in m.content %}{% if c.type == 'image' %}<image>{% else %}{{ c.text }}"
    "{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ROLES = {"user_token": "<|user|>", "assistant_token": "<|assistant|>"}


def chat(make: Callable[..., Any], **names: str) -> Any:
    """A tokenizer with markup of a chat, and an image token."""
    return make(**{"image_token": "<image>", **ROLES, **names})


def asked_in_chat(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """As the documentation of chat models does it."""
    content = [{"type": "image"}, {"type": "text", "text": question or "Describe the photo in one sentence."}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return dict(processor(images=image, text=text, return_tensors="pt"))


def clip_images(side: int = SIDE, **options: Any) -> Any:
    """Shorter side resized, centre cropped."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side}, **options)


def qwen2(tokenizer: Any) -> dict[str, Any]:
    return dict(
        model_type="qwen2",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def florence(folder: Path) -> None:
    from transformers import Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    tokenizer = byte_level(image_token="<image>")
    config = Florence2Config(
        vision_config=dict(
            embed_dim=[8, 16, 32, 32],
            num_heads=[1, 1, 2, 2],
            num_groups=[1, 1, 2, 2],
            depths=[1, 1, 1, 1],
            window_size=4,
            projection_dim=32,
            patch_stride=[4, 2, 2, 1],
        ),
        text_config=dict(
            model_type="bart",
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=128,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
            forced_bos_token_id=tokenizer.bos_token_id,
        ),
        image_token_id=tokenizer.image_token_id,
    )
    model = Florence2ForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = tokenizer.bos_token_id
    model.generation_config.decoder_start_token_id = tokenizer.eos_token_id
    from transformers import CLIPImageProcessor

    side = 64
    images = CLIPImageProcessor(size={"height": side, "width": side}, do_center_crop=False, image_seq_length=17)
    save(folder, model, Florence2Processor(images, tokenizer))


def florence_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    return dict(processor(images=image, text=question or "<CAPTION>", return_tensors="pt"))


def fastvlm(folder: Path) -> None:
    from transformers import FastVlmConfig, FastVlmForConditionalGeneration, LlavaProcessor

    tokenizer = chat(byte_level)
    config = FastVlmConfig(
        vision_config=dict(
            model_type="timm_wrapper",
            architecture="fastvit_mci0",
            do_pooling=False,
            hidden_size=64,
            model_args={"layers": [1, 1, 1, 1], "embed_dims": [8, 16, 16, 32], "inference_mode": True},
        ),
        text_config=qwen2(tokenizer),
        image_token_index=tokenizer.image_token_id,
    )
    images = clip_images(128)
    processor = LlavaProcessor(
        images, tokenizer, patch_size=32, vision_feature_select_strategy="full", chat_template=CHAT, image_token="<image>"
    )
    model = FastVlmForConditionalGeneration(config)
    save(folder, model, processor, loud=("model.multi_modal_projector.linear_1.weight", 1000))


def gemma3n(folder: Path) -> None:
    from transformers import (
        Gemma3nAudioFeatureExtractor,
        Gemma3nConfig,
        Gemma3nForConditionalGeneration,
        Gemma3nProcessor,
        SiglipImageProcessor,
    )

    timm_architecture("mobilenetv5_tiny_enc", mobilenet_v5)
    names = {"audio_token": "<audio>", "boa_token": "<boa>", "eoa_token": "<eoa>", "boi_token": "<boi>", "eoi_token": "<eoi>"}
    tokenizer = chat(sentence_piece, **names)
    size = len(tokenizer)
    config = Gemma3nConfig(
        text_config=dict(
            vocab_size=size,
            vocab_size_per_layer_input=size,
            hidden_size=32,
            hidden_size_per_layer_input=8,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            num_kv_shared_layers=0,
            altup_num_inputs=2,
            laurel_rank=4,
            layer_types=["sliding_attention", "full_attention"],
            activation_sparsity_pattern=[0.0, 0.0],
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            architecture="mobilenetv5_tiny_enc",
            hidden_size=2048,
            vocab_size=4,
            vocab_offset=size,
            model_args={},
            do_pooling=False,
        ),
        audio_config=dict(
            vocab_size=4,
            vocab_offset=size + 4,
            hidden_size=16,
            conf_num_attention_heads=2,
            conf_num_hidden_layers=1,
            sscp_conv_channel_size=[4, 4],
        ),
        vision_soft_tokens_per_image=16,
        image_token_id=tokenizer.image_token_id,
        audio_token_id=tokenizer.audio_token_id,
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
    )
    images = SiglipImageProcessor(size={"height": 64, "width": 64}, do_normalize=False)
    processor = Gemma3nProcessor(Gemma3nAudioFeatureExtractor(), images, tokenizer, chat_template=CHAT, image_seq_length=16)
    model = Gemma3nForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor)


def timm_architecture(name: str, build: Callable[..., Any]) -> None:
    """Makes timm know a small network by that name, as a checkpoint's config names one."""
    from timm.models import _registry

    _registry._model_entrypoints[name] = build
    _registry._model_to_module[name] = "tests"


def mobilenet_v5(pretrained: bool = False, **options: Any) -> Any:
    """MobileNetV5 with few blocks: Gemma 3n's kinds, and its fusion of the last two scales."""
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.mobilenetv5 import MobileNetV5Encoder

    stages = [
        ["er_r1_k3_s2_e2_c8"],
        ["uir_r1_a3_k5_s2_e2_c16"],
        ["uir_r1_a0_k5_s2_e2_c16", "mqa_r1_k3_h2_s1_d8_c16", "uir_r1_a0_k0_s1_e2_c16"],
    ]
    options = {key: value for key, value in options.items() if key in ("device", "dtype")}
    return MobileNetV5Encoder(
        decode_arch_def(stages), stem_size=8, pad_type="same", msfa_output_resolution=4, layer_scale_init_value=0.1, **options
    )


# ---- ViT towers in front of a language model -------------------------------------------------------------------------------


def llama(tokenizer: Any) -> dict[str, Any]:
    return qwen2(tokenizer) | {"model_type": "llama"}


def small_vit(kind: str, **more: Any) -> dict[str, Any]:
    return dict(
        model_type=kind,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=8,
        **more,
    )


def llava(folder: Path) -> None:
    from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    tokenizer = chat(sentence_piece)
    config = LlavaConfig(
        vision_config=small_vit("clip_vision_model", projection_dim=16),
        text_config=llama(tokenizer),
        image_token_index=tokenizer.image_token_id,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    processor = LlavaProcessor(
        clip_images(),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
        image_token="<image>",
    )
    save(folder, LlavaForConditionalGeneration(config), processor)


def paligemma(folder: Path) -> None:
    from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor, SiglipImageProcessor

    tokenizer = sentence_piece(image_token="<image>")
    images = SiglipImageProcessor(size={"height": SIDE, "width": SIDE}, image_seq_length=16)
    processor = PaliGemmaProcessor(images, tokenizer)
    size = len(tokenizer)
    config = PaliGemmaConfig(
        vision_config=small_vit("siglip_vision_model", vision_use_head=False),
        text_config=qwen2(tokenizer) | {"model_type": "gemma", "head_dim": 16, "vocab_size": size},
        image_token_index=tokenizer.image_token_id,
        projection_dim=32,
    )
    model = PaliGemmaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor)


def paligemma_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    values = dict(processor(images=image, text=f"<image>{question or 'caption en'}", return_tensors="pt"))
    values.pop("labels", None)
    return values


def _qformer() -> dict[str, Any]:
    return dict(
        vocab_size=len(word_piece()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        encoder_hidden_size=32,
        cross_attention_frequency=1,
        max_position_embeddings=64,
    )


def _opt(tokenizer: Any) -> dict[str, Any]:
    return dict(
        model_type="opt",
        vocab_size=len(tokenizer),
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _blip2(folder: Path, name: str, kind: str, language: str) -> None:
    import transformers
    from transformers import BlipImageProcessor

    tokenizer = byte_level() if language == "opt" else sentence_piece()
    tokenizer.add_tokens([AddedToken("<image>", normalized=False, special=True)], special_tokens=True)
    t5 = dict(
        model_type="t5",
        vocab_size=len(tokenizer),
        d_model=32,
        d_ff=64,
        d_kv=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = getattr(transformers, f"{kind}Config")(
        vision_config=small_vit(f"{kind.lower().replace('blip2', 'blip_2')}_vision_model"),
        qformer_config=_qformer(),
        text_config=_opt(tokenizer) if language == "opt" else t5,
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = getattr(transformers, name)(config)
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    parts = [images, tokenizer, word_piece()] if kind == "InstructBlip" else [images, tokenizer]
    processor = getattr(transformers, f"{kind}Processor")(*parts, num_query_tokens=4)
    model.language_model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor, loud=("language_projection.weight", 10 if language == "t5" else 1))


def blip2(folder: Path) -> None:
    _blip2(folder, "Blip2ForConditionalGeneration", "Blip2", "opt")


def blip2_t5(folder: Path) -> None:
    _blip2(folder, "Blip2ForConditionalGeneration", "Blip2", "t5")


def instructblip(folder: Path) -> None:
    _blip2(folder, "InstructBlipForConditionalGeneration", "InstructBlip", "opt")


def blip2_asked(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    text = "a photo of" if question is None else f"Question: {question} Answer:"
    return dict(processor(images=image, text=text, return_tensors="pt"))


def _qwen(folder: Path, kind: str, vision: dict[str, Any]) -> None:
    import transformers
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    tokenizer = chat(byte_level, video_token="<video>", vision_bos_token="<vision>", vision_eos_token="</vision>")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3]}
    text_type = {"Qwen2VL": "qwen2_vl_text", "Qwen2_5_VL": "qwen2_5_vl_text"}[kind]
    config = getattr(transformers, f"{kind}Config")(
        text_config=qwen2(tokenizer) | {"model_type": text_type, "rope_parameters": rope},
        vision_config=dict(depth=2, num_heads=2, patch_size=8, **vision),
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<vision>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("</vision>"),
    )
    size = {"shortest_edge": 16 * 16 * 4, "longest_edge": 16 * 16 * 8}
    images = Qwen2VLImageProcessor(patch_size=8, merge_size=2, size=size)
    template = CHAT.replace("<image>", "<vision><image></vision>")
    videos = Qwen2VLVideoProcessor(patch_size=8, size=size)
    processor = getattr(transformers, f"{kind}Processor")(images, tokenizer, videos, chat_template=template)
    save(folder, getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor)


def qwen2vl(folder: Path) -> None:
    _qwen(folder, "Qwen2VL", dict(embed_dim=32, hidden_size=32, mlp_ratio=2))


def qwen25vl(folder: Path) -> None:
    vision = dict(hidden_size=32, out_hidden_size=32, intermediate_size=64, window_size=32, fullatt_block_indexes=[1])
    _qwen(folder, "Qwen2_5_VL", vision)


def vilt(folder: Path) -> None:
    from transformers import ViltConfig, ViltForQuestionAnswering, ViltImageProcessor, ViltProcessor

    tokenizer = word_piece()
    answers = ["red", "brown", "two", "a red ball"]
    config = ViltConfig(
        **small_vit("vilt"),
        vocab_size=len(tokenizer),
        max_position_embeddings=40,
        max_image_length=-1,
        id2label=dict(enumerate(answers)),
        label2id={answer: i for i, answer in enumerate(answers)},
    )
    model = lively(ViltForQuestionAnswering(config))
    model.save_pretrained(folder)
    ViltProcessor(ViltImageProcessor(size={"shortest_edge": SIDE}, size_divisor=8), tokenizer).save_pretrained(folder)


def idefics3(folder: Path) -> None:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3ImageProcessor, Idefics3Processor

    names = {"fake": "<fake_token_around_image>", "end": "<end_of_utterance>", "whole": "<global-img>"}
    names |= {f"tile{i}{j}": f"<row_{i}_col_{j}>" for i in (1, 2) for j in (1, 2)}
    tokenizer = chat(byte_level, **names)
    config = Idefics3Config(
        vision_config=small_vit("idefics3_vision"),
        text_config=llama(tokenizer),
        image_token_id=tokenizer.image_token_id,
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    images = Idefics3ImageProcessor(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=CHAT)
    model = Idefics3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, processor)


CASES = [
    Case("ved-vit", ved_vit, "encoder.layers.1", (4, 4), unplaced=True),
    Case("ved-swin", ved_swin, "encoder.encoder.layers.1", (4, 4)),
    Case("ved-donut", ved_donut, "encoder.encoder.layers.1", (4, 8)),
    Case("blip-caption", blip_caption, "vision_model.encoder.layers.1", (4, 4), unplaced=True),
    Case(
        "blip-vqa", blip_vqa, "vision_model.encoder.layers.1", (4, 4), "what colour is the dog?", ask=as_processed, unplaced=True
    ),
    Case("git", git, "git.image_encoder.vision_model.encoder.layers.1", (4, 4), ask=git_asked, unplaced=True),
    Case(
        "git-vqa",
        git,
        "git.image_encoder.vision_model.encoder.layers.1",
        (4, 4),
        "how many dogs are there?",
        ask=git_asked,
        unplaced=True,
        slow=True,
    ),
    Case("florence-2", florence, "model.vision_tower.blocks.3.0", (4, 4), ask=florence_asked, local=False),
    Case("fastvlm", fastvlm, "model.vision_tower.timm_model.final_conv", (4, 4), ask=asked_in_chat, double=False, local=False),
    Case(
        "fastvlm-vqa",
        fastvlm,
        "model.vision_tower.timm_model.final_conv",
        (4, 4),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        local=False,
        slow=True,
    ),
    Case(
        "gemma3n", gemma3n, "model.vision_tower.timm_model.msfa", (4, 4), ask=asked_in_chat, double=False, local=False, nodes=16
    ),
    Case(
        "llava", llava, "model.vision_tower.encoder.layers.0", (4, 4), "what colour is the dog?", ask=asked_in_chat, double=False
    ),
    Case("paligemma", paligemma, "model.vision_tower.encoder.layers.1", (4, 4), ask=paligemma_asked, double=False),
    Case("blip-2", blip2, "vision_model.encoder.layers.1", (4, 4), ask=blip2_asked, unplaced=True),
    Case(
        "blip-2-t5",
        blip2_t5,
        "vision_model.encoder.layers.1",
        (4, 4),
        "how many dogs?",
        ask=blip2_asked,
        unplaced=True,
        double=False,
        slow=True,
    ),
    Case(
        "instructblip",
        instructblip,
        "vision_model.encoder.layers.1",
        (4, 4),
        "how many dogs?",
        ask=as_processed,
        unplaced=True,
        slow=True,
    ),
    Case(
        "qwen2-vl",
        qwen2vl,
        "model.visual.blocks.1",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        slow=True,
    ),
    Case(
        "vilt",
        vilt,
        "vilt.encoder.layer.1.layernorm_before",
        (3, 6),
        "what colour is the dog?",
        "a red ball",
        ask=as_processed,
        unplaced=True,
        chooses=True,
    ),
    Case("idefics3", idefics3, "model.vision_model.encoder.layers.1", (4, 8), ask=asked_in_chat, double=False, unplaced=True),
    Case("qwen2.5-vl", qwen25vl, "model.visual.blocks.1", (4, 8), "what colour is the dog?", ask=asked_in_chat, double=False),
]
