"""Labels: found by their names, never mistaken for another."""

import pytest

from multimodal_cam.adapters.contract import UnknownWordError
from multimodal_cam.adapters.labels import Labels

LABELS = Labels(["tabby, tabby cat", "jaguar, panther", "leopard, panther", "horn", "French horn, horn", "Ice  Cream"])


@pytest.mark.parametrize(
    ("text", "id"),
    [("tabby", 0), ("Tabby  Cat", 0), ("tabby, tabby cat", 0), ("jaguar", 1), ("horn", 3), ("french horn", 4), ("ice cream", 5)],
)
def test_a_label_is_found_by_each_of_its_names(text, id):
    assert LABELS.encode([text]).tolist() == [[id]]


def test_a_name_of_several_labels_is_an_error():
    with pytest.raises(
        UnknownWordError, match="'panther' may be any of: jaguar, panther; leopard, panther: say all of its names"
    ):
        LABELS.encode(["panther"])


def test_a_label_that_is_not_there_is_an_error_with_near_ones():
    with pytest.raises(UnknownWordError, match="'taby' is none of the 6 answers that the model can give; near: tabby"):
        LABELS.encode(["taby"])


def test_the_word_is_what_the_user_wrote():
    (span,) = LABELS.spans([5], "ICE   cream")
    assert (span.text, span.start, span.stop) == ("ICE cream", 0, 1)
    assert LABELS.spans([0])[0].text == "tabby, tabby cat"
