"""Signals of words and the doubt made of them, beside sums written out."""

import json
import math

import pytest
import torch

from multimodal_cam.core.errors import BrokenFile
from multimodal_cam.models.doubt_fit import DoubtFit, read_doubt, write_doubt
from multimodal_cam.models.nic.network import NIC, NICConfig
from multimodal_cam.models.word_signals import SIGNALS, confidence, log_probs_on_others, own_log_probs, signals

FIT = DoubtFit((0.0, 1.0, 0.0, 2.0), (1.0, 2.0, 1.0, 1.0), (-1.0, 0.0, 0.0, 0.5), 0.25, ("dog", "cat"))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return NIC(NICConfig(vocabulary_size=9, width=16)).eval()


def test_confidence_is_the_best_cells_probability(network, monkeypatch):
    logits = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]]])  # two cells, three words
    monkeypatch.setattr(network, "cell_words", lambda cells: logits)
    found = confidence(network, torch.zeros(1, 16, 1, 2), torch.tensor([[0, 1, -1]]))
    best = [math.log(math.e**2 / (math.e**2 + 2)), math.log(math.e**3 / (math.e**3 + 2))]
    torch.testing.assert_close(found[0, :2], torch.tensor(best))
    monkeypatch.setattr(network, "cell_words", lambda cells: None)
    assert confidence(network, torch.zeros(1, 16, 1, 2), torch.tensor([[0]])) is None


def test_a_word_that_one_cell_says_is_confident(network):
    cells = torch.zeros(1, 16, 10, 10)
    cells[0, :, 3, 7] = 5 * torch.randn(16)
    said = int(network.cell_words(cells)[0, 37].argmax())
    own = network.cell_words(cells)[0].log_softmax(-1)[:, said].max()
    torch.testing.assert_close(confidence(network, cells, torch.tensor([[said]]))[0, 0], own)


def test_log_probs_are_those_of_the_network_and_others_their_mean(network):
    cells, ids = torch.randn(3, 16, 2, 2), torch.tensor([[4, 5, 6]])
    contexts = network.context(cells)
    each = network.decode(cells, ids.expand(3, -1)).softmax(-1)[:, range(3), [4, 5, 6]]
    torch.testing.assert_close(own_log_probs(network, contexts, ids.expand(3, -1)).exp(), each)
    torch.testing.assert_close(log_probs_on_others(network, contexts, ids)[0].exp(), each.mean(dim=0))


def test_doubt_by_hand():
    table = signals(torch.tensor([[-1.0, -2.0]]), torch.tensor([[0.5, 1.0]]), torch.tensor([[-3.0, -4.0]]))
    assert table.shape == (1, 2, len(SIGNALS))
    assert table[0, 1].tolist() == [-2.0, 1.0, -4.0, 1.0]  # position last
    odds = torch.tensor([[1.0 + 0.5 * (0 - 2) + 0.25, 2.0 + 0.5 * (1 - 2) + 0.25]])
    torch.testing.assert_close(FIT.doubt(table), torch.sigmoid(odds))


def test_a_fit_is_read_as_it_was_written(tmp_path, caplog):
    assert read_doubt(tmp_path, "abc") is None
    path = write_doubt(tmp_path, FIT, "abc", 12)
    assert read_doubt(tmp_path, "abc") == FIT
    assert not caplog.records
    assert read_doubt(tmp_path, "of other weights") is None
    assert "belongs to other weights" in caplog.text
    entry = json.loads(path.read_text())
    for change in ({"signals": ["log_prob"]}, {"means": [1.0]}, {"deviations": [0, 1, 1, 1]}, {"format": 2}):
        path.write_text(json.dumps(entry | change))
        with pytest.raises(BrokenFile, match=r"doubt\.json.*study doubt --save"):
            read_doubt(tmp_path, "abc")
