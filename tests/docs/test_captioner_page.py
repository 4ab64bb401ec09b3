"""The page on captioners of one's own runs, on the tutorial's encoder and decoder in small."""

import re
from pathlib import Path

import pytest
import torch
from networks import noise_image
from torch import nn

import multimodal_cam as mc

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "captioner.md"
WORDS = ["<pad>", "a", "red", "dog", "runs", "<unk>", "<start>", "<end>"]
SIDE = 32


class TutorialEncoder(nn.Module):
    """Gives `(b, 4, 4, 6)`, channels last, as `encoder_out` of the tutorial."""

    def __init__(self):
        super().__init__()
        self.resnet = nn.Sequential(nn.Conv2d(3, 6, 3, stride=4, padding=1), nn.Tanh())
        self.adaptive_pool = nn.AdaptiveAvgPool2d((4, 4))

    def forward(self, images):
        return self.adaptive_pool(self.resnet(images)).permute(0, 2, 3, 1)


class TutorialDecoder(nn.Module):
    """`DecoderWithAttention`: sorts its rows by length, feeds one word less than it is given, returns five things."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(len(WORDS), 8), nn.LSTMCell(8 + 6, 12)
        self.init_h, self.init_c = nn.Linear(6, 12), nn.Linear(6, 12)
        self.encoder_att, self.decoder_att, self.full_att = nn.Linear(6, 8), nn.Linear(12, 8), nn.Linear(8, 1)
        self.fc = nn.Linear(12, len(WORDS))

    def forward(self, encoder_out, encoded_captions, caption_lengths):
        batch_size, encoder_dim = encoder_out.size(0), encoder_out.size(-1)
        encoder_out = encoder_out.view(batch_size, -1, encoder_dim)
        caption_lengths, sort_ind = caption_lengths.squeeze(1).sort(dim=0, descending=True)
        sort_ind = sort_ind.flip(0)  # equal lengths come in any order
        encoder_out, encoded_captions = encoder_out[sort_ind], encoded_captions[sort_ind]
        embeddings, mean = self.embedding(encoded_captions), encoder_out.mean(dim=1)
        h, c = self.init_h(mean), self.init_c(mean)
        decode_lengths = (caption_lengths - 1).tolist()
        predictions = torch.zeros(batch_size, max(decode_lengths), len(WORDS))
        alphas = torch.zeros(batch_size, max(decode_lengths), encoder_out.size(1))
        for t in range(max(decode_lengths)):
            n = sum(length > t for length in decode_lengths)
            scores = self.full_att((self.encoder_att(encoder_out[:n]) + self.decoder_att(h[:n]).unsqueeze(1)).relu()).squeeze(2)
            alpha = scores.softmax(dim=1)
            seen = (encoder_out[:n] * alpha.unsqueeze(2)).sum(dim=1)
            h, c = self.lstm(torch.cat([embeddings[:n, t], seen], dim=1), (h[:n], c[:n]))
            predictions[:n, t], alphas[:n, t] = self.fc(h), alpha
        return predictions, encoded_captions, decode_lengths, alphas, sort_ind


@pytest.fixture
def made():
    torch.manual_seed(3)
    encoder, decoder = TutorialEncoder(), TutorialDecoder()
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *decoder.parameters()]:
            parameter.mul_(3)
    names = {
        "encoder": encoder,
        "decoder": decoder,
        "word_map": {word: i for i, word in enumerate(WORDS)},
        "transform": lambda image: (
            torch.rand(3, 4, 4).new_tensor(list(image.resize((SIDE, SIDE)).tobytes())).view(SIDE, SIDE, 3).permute(2, 0, 1) / 255
        ),
        "photo": noise_image(),
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        exec(block, names)
    return names


def test_the_page_runs_and_its_maps_are_of_the_tutorials_decoder(made):
    e, looked, decoder = made["e"], made["looked"], made["decoder"]
    assert e.token_maps.shape[1:] == (4, 4)
    assert e.maps.abs().sum() > 0
    torch.testing.assert_close(looked.maps.sum(dim=(1, 2)), torch.ones(len(looked)))
    ids = made["model"].tokenize(["a red dog"])
    pixels = made["model"].preprocess([made["photo"]]).pixels
    captions = torch.cat([torch.tensor([[6]]), ids], dim=1)
    with torch.no_grad():
        predictions, *_ = decoder(made["encoder"](pixels), captions, torch.tensor([[4]]))
        torch.testing.assert_close(made["model"].logits(made["model"].preprocess([made["photo"]]), ids), predictions)
    photos = [made["photo"], noise_image(5)]
    both = mc.explain(made["model"], photos, text=["a red dog", "dog runs"], method="attention")
    alone = mc.explain(made["model"], photos[1], text="dog runs", method="attention")
    torch.testing.assert_close(both[1].maps, alone.maps)


def test_attention_of_another_shape_is_said(made):
    made["model"].attention_of = lambda features, ids: torch.zeros(len(ids), ids.shape[1], 9)
    with pytest.raises(ValueError, match=r"expected \(b, t, h, w\) = \(1, 3, 4, 4\) .* got \(1, 3, 9\)"):
        mc.explain(made["model"], made["photo"], text="a red dog", method="attention")
