"""data/entities.py on made-up files, and once on the real ones where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from multimodal_cam.data.readers.flickr_entities import Phrase, Sentence, read_entities

SENTENCES = """\
[/EN#1/people A man 's dog] and [/EN#2/people/animals it] wait for [/EN#0/notvisual nothing] .
Sunny day , [/EN#3/scene a well-lit park] .
"""
XML = """\
<annotation>
  <size><width>200</width><height>100</height><depth>3</depth></size>
  <object><name>1</name><name>2</name><bndbox><xmin>20</xmin><ymin>10</ymin><xmax>100</xmax><ymax>100</ymax></bndbox></object>
  <object><name>1</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>200</xmax><ymax>50</ymax></bndbox></object>
  <object><name>3</name><scene>1</scene><nobndbox>1</nobndbox></object>
</annotation>
"""
SHARED = Path(__file__).parents[3] / "shared" / "data" / "flickr8k"


def write(folder: Path, sentences: str = SENTENCES, xml: str = XML) -> Path:
    for part, file, text in (("Sentences", "12.txt", sentences), ("Annotations", "12.xml", xml)):
        (folder / part).mkdir()
        (folder / part / file).write_text(text, encoding="utf-8")
    return folder


def test_words_phrases_and_boxes_in_fractions(tmp_path: Path) -> None:
    first, whole = (0.1, 0.1, 0.5, 1.0), (0.005, 0.01, 1.0, 0.5)
    assert read_entities(write(tmp_path), "12_ab34.jpg") == (
        Sentence(
            ("a", "man", "s", "dog", "and", "it", "wait", "for", "nothing"),
            (
                Phrase(0, 4, "1", ("people",), (first, whole)),
                Phrase(5, 6, "2", ("people", "animals"), (first,)),
                Phrase(8, 9, "0", ("notvisual",), ()),
            ),
        ),
        Sentence(("sunny", "day", "a", "well-lit", "park"), (Phrase(2, 5, "3", ("scene",), ()),)),
    )


def test_text_splits_into_the_same_words(tmp_path: Path) -> None:
    sentence = read_entities(write(tmp_path), "12.jpg")[1]
    assert sentence.text == "sunny day a well-lit park"


def test_a_photo_without_annotation_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"13_x\.jpg.*13\.txt is missing"):
        read_entities(write(tmp_path), "13_x.jpg")


@pytest.mark.parametrize(
    ("sentences", "xml", "message"),
    [
        ("fine .\n[/EN#1/people a dog runs .", XML, r"12\.txt, line 2: expected phrases.*a dog runs"),
        (SENTENCES, XML[:100], r"12\.xml is not well-formed XML: .*line 3"),
        (SENTENCES, "<annotation/>", r"12\.xml: expected <size>"),
        (SENTENCES, XML.replace("200</width>", "0</width>"), r"12\.xml: a photo of 0 x 100 pixels"),
        (SENTENCES, XML.replace("<xmin>20</xmin>", ""), r"expected a number in <bndbox><xmin>, got None"),
        (SENTENCES, XML.replace(">20<", ">twenty<"), r"expected a number in <bndbox><xmin>, got 'twenty'"),
        (
            SENTENCES,
            XML.replace(">20<", ">120<"),
            r"box 120 10 100 100 does not lie on a photo",
        ),
    ],
)
def test_broken_files_are_named(tmp_path: Path, sentences: str, xml: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_entities(write(tmp_path, sentences, xml), "12_ab34.jpg")


def test_real_annotations(tmp_path: Path) -> None:
    archive = SHARED / "flickr30k_entities.tar.gz"
    if not archive.exists():
        pytest.skip(f"{archive} is not here: Flickr30k Entities cannot be committed")
    import tarfile

    folder = "flickr30k_entities"
    wanted = {f"{folder}/Annotations/1000268201.xml", f"{folder}/Sentences/1000268201.txt"}
    with tarfile.open(archive) as tar:
        for member in tar:  # a stream: stops where both are found
            if member.name in wanted:
                tar.extract(member, tmp_path, filter="data")
                wanted.remove(member.name)
            if not wanted:
                break
    sentences = read_entities(tmp_path / folder, "1000268201_693b08cb0e.jpg")
    assert len(sentences) == 5
    assert sentences[0].text == "a child in a pink dress is climbing up a set of stairs in an entry way"
    assert [(p.chain, p.types[0], len(p.boxes)) for p in sentences[0].phrases] == [
        ("18", "people", 1), ("19", "clothing", 1), ("20", "other", 1), ("23", "scene", 1),
    ]  # fmt: skip
    assert sentences[1].phrases[2].boxes == ()
