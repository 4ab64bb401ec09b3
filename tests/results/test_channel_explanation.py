"""Channels that speak for and against words: their maps add up to the words', and what they are called follows the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import networks
import pytest
import torch
from toys import toy_explanation

import multimodal_cam as mc
from multimodal_cam.core.channel_names import (
    ChannelLabel,
    ChannelNames,
    read_channel_names,
    weights_sha256,
    write_channel_names,
)
from multimodal_cam.results.json_records import record

TEXT = "red green blue white"


def planted_channels() -> mc.Explanation:
    """`dog` of six channels, 3, -1, 0, 5, -2, 1 in one cell each; `grass` of nothing."""
    e = toy_explanation("dog grass", grid=(2, 3))
    channels = torch.zeros(2, 6, 2, 3)
    for i, value in enumerate((3.0, -1.0, 0.0, 5.0, -2.0, 1.0)):
        channels[0, i, i // 3, i % 3] = value
    return replace(e, token_maps=channels.sum(dim=1), token_channels=channels, channel_names={3: "dog", 0: "grass", 4: "water"})


@pytest.mark.parametrize("method", ["evidence", "grad_cam", "hires_cam", "xgrad_cam"])
@pytest.mark.parametrize("make", [networks.small_captioner, networks.planted_captioner])
def test_maps_of_all_channels_add_up_to_the_words(method: str, make: object) -> None:
    model = make()  # type: ignore[operator]
    text = TEXT if make is networks.planted_captioner else None
    e = mc.explain(model, networks.noise_image(), text=text, method=method, channels=True)
    plain = mc.explain(model, networks.noise_image(), text=text, method=method)
    assert torch.equal(e.maps, plain.maps)
    for word in e.words:
        found = e.channels(word, top=None)
        assert len(found) == e.token_channels.shape[1]
        total = torch.stack([one.map for one in found]).sum(dim=0)
        assert torch.allclose(total, e.map(word), atol=1e-5 * max(1.0, float(e.map(word).abs().max())))
        assert sum(abs(one.share) for one in found) == pytest.approx(1, abs=1e-6) or not e.map(word).any()
    assert torch.allclose(
        torch.stack([one.map for one in e.channels(e.whole().span, top=None)]).sum(dim=0), e.whole().map, atol=1e-4
    )


def test_the_strongest_of_each_side_come_first() -> None:
    e = planted_channels()
    assert [one.channel for one in e.channels("dog", top=2)] == [3, 0, 4, 1]
    assert [one.channel for one in e.channels("dog", top=None)] == [3, 0, 5, 2, 1, 4]
    assert [one.share for one in e.channels("dog", top=1)] == [5 / 12, -2 / 12]
    assert e.channels("dog")[0].map.tolist() == [[0, 0, 0], [5, 0, 0]]
    assert e.channels("grass") == []


def test_a_text_explanation_names_channels() -> None:
    e = planted_channels()
    assert e.explanation_text("dog") == "dog: because of channel 3 (dog) and 0 (grass); against it: 4 (water)"
    assert e.explanation_text("grass") == "grass: no channel speaks for or against it"
    against = replace(e, token_channels=-e.token_channels.abs(), channel_names={})
    assert against.explanation_text("dog") == "dog: no channel speaks for it; against it: 3"
    unknown = replace(e, words=(replace(e.words[0], known=False), e.words[1]))
    assert unknown.explanation_text(0) == "dog: the model does not know this word"


def test_what_has_no_channels_says_how_to_get_them() -> None:
    with pytest.raises(ValueError, match=r"without channels: explain\(model, photo, channels=True\)"):
        toy_explanation().channels("dog")
    with pytest.raises(ValueError, match="top: expected 1 or more"):
        planted_channels().channels("dog", top=0)
    with pytest.raises(
        ValueError, match="layer_cam is no sum over channels; choose from evidence, grad_cam, hires_cam, xgrad_cam"
    ):
        mc.explain(networks.small_captioner(), networks.noise_image(), method="layer_cam", channels=True)
    with pytest.raises(TypeError, match="channels: expected True, or the path of a file that `neurons label` wrote, got 5"):
        mc.explain(networks.small_captioner(), networks.noise_image(), channels=5)


def test_records_and_folders_have_channels(tmp_path: Path) -> None:
    e = planted_channels()
    found = json.loads(json.dumps(record("x.jpg", e), allow_nan=False))["words"][0]
    assert [one["channel"] for one in found["channels"]] == [3, 0, 5, 4, 1]
    assert found["channels"][0]["name"] == "dog"
    assert found["because"] == e.explanation_text("dog")
    assert "channels" not in record("x.jpg", toy_explanation())["words"][0]
    back = mc.Explanation.load(e.save(tmp_path / "e"))
    assert back.channel_names == e.channel_names
    assert torch.equal(back.token_channels, e.token_channels)


def test_names_belong_to_their_weights_and_layer(tmp_path: Path) -> None:
    model = networks.small_captioner()
    layer = mc.explain(model, networks.noise_image(), channels=True).layer
    names = ChannelNames(
        weights_sha256(model.module), layer, {0: ChannelLabel("dog", 0.2), 1: ChannelLabel("cat", 0.03)}, 0.005, 10, 3
    )
    path = write_channel_names(names, tmp_path / "channels.json")
    assert read_channel_names(path) == names
    e = mc.explain(model, networks.noise_image(), channels=path)
    assert e.channel_names == {0: "dog"}  # .03 does not pass
    with torch.no_grad():
        next(model.module.parameters()).add_(1)
    with pytest.raises(ValueError, match=r"channels.json names channels of other weights.*neurons label"):
        mc.explain(model, networks.noise_image(), channels=path)
    with pytest.raises(FileNotFoundError, match="neurons label"):
        mc.explain(model, networks.noise_image(), channels=tmp_path / "none.json")
    path.write_text("{}")
    with pytest.raises(mc.BrokenFile, match="format"):
        mc.explain(model, networks.noise_image(), channels=path)
