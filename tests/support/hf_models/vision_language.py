"""ViT towers in front of a language model: LLaVA 1.5, PaliGemma, Gemma 3, Qwen2-VL, Qwen2.5-VL, Qwen3-VL, Qwen3.5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .parts import CHAT, SIDE, Case, asked_in_chat, clip_images, llama, qwen2, save, small_vit
from .tokenizers import byte_level, chat, sentence_piece


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


def gemma3(folder: Path) -> None:
    """Tokenizer and chat template both write the start token, as the real ones do.

    That the image processor would pan and scan means nothing: the processor, when it calls it, says that it shall not.
    """
    from tokenizers import processors
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor, Gemma3Processor

    tokenizer = chat(sentence_piece, boi_token="<boi>", eoi_token="<eoi>")
    start = [("<s>", tokenizer.bos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=start)
    config = Gemma3Config(
        vision_config=small_vit("siglip_vision_model", vision_use_head=False),
        text_config=qwen2(tokenizer)
        | dict(model_type="gemma3_text", head_dim=16, layer_types=["sliding_attention", "full_attention"], sliding_window=8),
        mm_tokens_per_image=4,
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
    )
    crops = dict(pan_and_scan_min_crop_size=16, pan_and_scan_max_num_crops=4, pan_and_scan_min_ratio_to_activate=1.2)
    images = Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE}, do_pan_and_scan=True, **crops)
    template = "{{ bos_token }}" + CHAT.replace("<image>", "<boi>")
    model = Gemma3ForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    save(folder, model, Gemma3Processor(images, tokenizer, chat_template=template, image_seq_length=4))


def asked_with_photo(processor: Any, image: Any, question: str | None) -> dict[str, Any]:
    """As Gemma 3's documentation does it: the chat template makes tokens, too, and sees that one start token is there."""
    content = [{"type": "image", "image": image}, {"type": "text", "text": question or "Describe the photo in one sentence."}]
    options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    return dict(processor.apply_chat_template([{"role": "user", "content": content}], **options))


def _qwen(folder: Path, kind: str, vision: dict[str, Any], **text: Any) -> None:
    import transformers
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    tokenizer = chat(byte_level, video_token="<video>", vision_bos_token="<vision>", vision_eos_token="</vision>")
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    config_class = getattr(transformers, f"{kind}Config")
    text_type = config_class.sub_configs["text_config"].model_type
    config = config_class(
        text_config=qwen2(tokenizer) | {"model_type": text_type, "rope_parameters": rope} | text,
        vision_config=dict(depth=2, num_heads=2, patch_size=8) | vision,
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<vision>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("</vision>"),
    )
    size = {"shortest_edge": 16 * 16 * 4, "longest_edge": 16 * 16 * 8}
    images = Qwen2VLImageProcessor(patch_size=8, merge_size=2, size=size)
    template = CHAT.replace("<image>", "<vision><image></vision>")
    videos = Qwen2VLVideoProcessor(patch_size=8, size=size)
    maker = getattr(transformers, "Qwen3VLProcessor" if kind.startswith("Qwen3") else f"{kind}Processor")
    processor = maker(images, tokenizer, videos, chat_template=template)
    save(folder, getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor)


def qwen2vl(folder: Path) -> None:
    _qwen(folder, "Qwen2VL", dict(embed_dim=32, hidden_size=32, mlp_ratio=2))


def qwen25vl(folder: Path) -> None:
    vision = dict(hidden_size=32, out_hidden_size=32, intermediate_size=64, window_size=32, fullatt_block_indexes=[1])
    _qwen(folder, "Qwen2_5_VL", vision)


QWEN3 = dict(
    depth=3,
    deepstack_visual_indexes=[0, 1],
    hidden_size=40,
    out_hidden_size=32,
    intermediate_size=64,
    num_position_embeddings=16,
)


def qwen3vl(folder: Path) -> None:
    """Blocks of another width than the words', so that DeepStack's features fill no whole rows."""
    _qwen(folder, "Qwen3VL", QWEN3)


def qwen3vl_moe(folder: Path) -> None:
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, head_dim=16)
    _qwen(folder, "Qwen3VLMoe", QWEN3, **experts)


def qwen35(folder: Path) -> None:
    sizes = dict(linear_key_head_dim=16, linear_value_head_dim=16, linear_num_key_heads=1, linear_num_value_heads=2, head_dim=16)
    vision = {name: value for name, value in QWEN3.items() if name != "deepstack_visual_indexes"}
    _qwen(folder, "Qwen3_5", vision, layer_types=["linear_attention", "full_attention"], **sizes)


CASES = [
    Case(
        "llava", llava, "model.vision_tower.encoder.layers.0", (4, 4), "what colour is the dog?", ask=asked_in_chat, double=False
    ),
    Case("paligemma", paligemma, "model.vision_tower.encoder.layers.1", (4, 4), ask=paligemma_asked, double=False),
    Case("gemma3", gemma3, "model.vision_tower.encoder.layers.1", (4, 4), ask=asked_with_photo, double=False),
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
    Case("qwen2.5-vl", qwen25vl, "model.visual.blocks.1", (4, 8), "what colour is the dog?", ask=asked_in_chat, double=False),
    Case(
        "qwen3-vl-moe",
        qwen3vl_moe,
        "model.visual",
        (4, 8),
        ask=asked_in_chat,
        double=False,
        unplaced=True,
        slow=True,
    ),
    Case("qwen3.5", qwen35, "model.visual.blocks.2", (4, 8), ask=asked_in_chat, double=False, slow=True),
    Case(
        "qwen3-vl",
        qwen3vl,
        "model.visual",
        (4, 8),
        "what colour is the dog?",
        ask=asked_in_chat,
        double=False,
        unplaced=True,
        n_steps=16,
    ),
]
