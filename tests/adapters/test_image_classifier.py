"""Image classifiers of transformers: labels, preprocessing and layer come from the checkpoint."""

import pytest
import torch
from networks import noise_image
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    RegNetConfig,
    RegNetForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

import multimodal_cam as mc

LABELS = {0: "cat", 1: "dog", 2: "hen"}
SMALL = {"hidden_sizes": [8, 16], "depths": [1, 1], "id2label": LABELS}
MODELS = {
    "resnet": lambda: ResNetForImageClassification(ResNetConfig(embedding_size=8, layer_type="basic", **SMALL)),
    "convnext": lambda: ConvNextForImageClassification(ConvNextConfig(num_stages=2, **SMALL)),
    "regnet": lambda: RegNetForImageClassification(RegNetConfig(embedding_size=8, groups_width=8, **SMALL)),
}
PHOTO = noise_image(0, (64, 48))


def network(name="resnet"):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for parameter in model.classifier.parameters():
        torch.nn.init.normal_(parameter)  # ConvNeXt's first logits are nearly alike
    return model


def squeezing():
    return ViTImageProcessor(size={"height": 32, "width": 32})


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_is_the_loaded_network(name, tmp_path):
    model, processor = network(name), squeezing()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    adapters = [
        mc.load(tmp_path, device="cpu"),
        mc.load(model, processor=processor),
        mc.classifier(model, preprocess=processor),
    ]
    found = [mc.explain(adapter, PHOTO) for adapter in adapters]
    for adapter, one in zip(adapters, found, strict=True):
        assert adapter.labels.names == ("cat", "dog", "hen")
        assert one.layer == f"{name}.encoder"
        torch.testing.assert_close(one.maps, found[0].maps)
    with torch.no_grad():
        probabilities = model(**processor(PHOTO, return_tensors="pt")).logits.softmax(-1)[0]
    assert dict(found[0].answers) == pytest.approx(dict(zip(LABELS.values(), probabilities.tolist(), strict=True)), rel=1e-4)
    assert all(one.passed for one in mc.check(adapters[0], PHOTO))


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_transformers_give_a_map_of_their_tokens(name):
    torch.manual_seed(0)
    if name == "vit":
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "patch_size": 16}
        model = ViTForImageClassification(ViTConfig(image_size=64, id2label=LABELS, **sizes))
    else:
        sizes = {"patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
        model = SwinForImageClassification(SwinConfig(image_size=64, id2label=LABELS, **sizes))
    e = mc.explain(mc.load(model.eval(), processor=ViTImageProcessor(size={"height": 64, "width": 64})), PHOTO)
    assert {text for text, _ in e.answers} == set(LABELS.values())
    assert tuple(e.maps.shape[1:]) == ((4, 4) if name == "vit" else (8, 8))
    assert e.maps.abs().max() > 0
    # the last layer that holds all that the class reads of the patches: neither queries, keys nor values alone
    assert e.layer == ("vit.layers.1.layernorm_before" if name == "vit" else "swin.layernorm")


def test_a_crop_of_the_processor_is_where_the_map_lies():
    adapter = mc.load(network(), processor=ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.5))
    left, top, right, bottom = mc.explain(adapter, PHOTO).placement.frame
    assert (right - left) * 64 == pytest.approx((bottom - top) * 48, abs=2)
    assert bottom - top == pytest.approx(0.5, abs=0.06)


def test_what_is_missing_is_named(tmp_path):
    model = network()
    model.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no image processor"):
        mc.load(tmp_path)
    squeezing().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="has its weights as pickles"):
        mc.load(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match="holds no weights"):
        mc.load(tmp_path)
    with pytest.raises(TypeError, match="needs its processor"):
        mc.load(model)
    with pytest.raises(TypeError, match="expected an image processor, got str"):
        mc.load(model, processor="resnet")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="device_map: .* is an image classifier"):
        mc.load(tmp_path, device_map="auto")


def test_names_that_tell_nothing_are_not_taken():
    model = network()
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert mc.classifier(model, image_size=32).labels.names == ("class 0", "class 1", "class 2")
    assert mc.classifier(model, labels={"a": 0, "b": 1, "c": 2}, image_size=32).labels.names == ("a", "b", "c")


def test_a_classifier_of_texts_is_not_one_of_images(tmp_path):
    config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=10)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="sees no photos"):
        mc.load(tmp_path)
