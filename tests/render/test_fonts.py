"""Figures of words in any script: a font that has them, from the system or a package; else one line and no boxes."""

import warnings
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from networks import Decoder, Encoder, noise_image

import multimodal_cam as mc
from multimodal_cam.render import fonts
from multimodal_cam.render.fonts import fit_fonts
from multimodal_cam.render.remarks import shortened

CHINESE = ["<bos>", "<eos>", "<unk>", "一只", "狗", "在", "草地", "上", "。", "猫"]


def write_font(path: Path, family: str, characters: str) -> None:
    """A font in which every one of `characters` is a triangle."""
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    pen.lineTo((450, 0))
    pen.lineTo((250, 700))
    pen.closePath()
    names = [".notdef", *(f"u{ord(c):X}" for c in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(c): f"u{ord(c):X}" for c in characters})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (500, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def only_default(monkeypatch):
    """No font but matplotlib's own, whatever this machine has."""
    manager = font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist if entry.name.startswith("DejaVu")])
    monkeypatch.setattr(fonts, "distributions", list)
    for found in (fonts._system_fonts, fonts._packaged_fonts):
        found.cache_clear()
    yield manager
    for found in (fonts._system_fonts, fonts._packaged_fonts):
        found.cache_clear()


def chinese_figure():
    model = mc.captioner(encoder=Encoder(), decoder=Decoder(), tokenizer=CHINESE, bos=0, eos=1, unk=2, image_size=32)
    return mc.explain(model, noise_image(), text="一只狗在草地上。").figure()


def drawn(figure: Figure, path: Path) -> list[str]:
    """What matplotlib says when it draws."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        figure.savefig(path)
    return [str(one.message) for one in said]


def test_a_font_of_the_system_is_taken(only_default, tmp_path):
    write_font(tmp_path / "kai.ttf", "Test Kai", "".join(CHINESE[3:]))
    only_default.addfont(tmp_path / "kai.ttf")
    figure = chinese_figure()
    assert drawn(figure, tmp_path / "figure.png") == []
    titles = [axis.get_title() for axis in figure.subfigs[0].axes]
    assert titles[1:6] == ["一只", "狗", "在", "草地", "上"]
    assert figure.subfigs[0].axes[1].title.get_fontfamily()[-1] == "Test Kai"


def test_fonts_of_packages_are_taken_together(only_default, tmp_path, monkeypatch):
    write_font(tmp_path / "kai.ttf", "Test Kai", "狗猫")
    write_font(tmp_path / "thai.otf", "Test Thai", "สุนัข")
    (tmp_path / "broken.ttf").write_text("no font")
    info = tmp_path / "pack-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: pack\nVersion: 1\n")
    (info / "RECORD").write_text("kai.ttf,,\nthai.otf,,\nbroken.ttf,,\nmissing.ttf,,\npack.py,,\n")
    monkeypatch.setattr(fonts, "distributions", lambda: [PathDistribution(info)])
    figure = Figure()
    text = figure.text(0, 0, "a 狗 and สุนัข")
    fit_fonts(figure)
    assert text.get_text() == "a 狗 and สุนัข"
    assert set(text.get_fontfamily()[1:]) == {"Test Kai", "Test Thai"}
    assert drawn(figure, tmp_path / "figure.png") == []


def test_what_no_font_has_is_said_once_and_is_no_box(only_default, tmp_path):
    with pytest.warns(UserWarning, match=r"figure: no font here has .* and \d more, drawn as .: pip install .*\[fonts\]") as said:
        figure = chinese_figure()
    assert len(said) == 1
    assert drawn(figure, tmp_path / "figure.png") == []
    assert [axis.get_title() for axis in figure.subfigs[0].axes][1:6] == ["\ufffd"] * 5
    figure = Figure()
    text = figure.text(0, 0, "two 🇫🇷 👨‍👩‍👧 and n狗n")
    with pytest.warns(UserWarning, match="no font here has"):
        fit_fonts(figure)
    assert text.get_text() == "two \ufffd \ufffd and n\ufffdn"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("text", ["a dog’s – 3.5 “ball”", "größer, niño, çok", "собака", "σκύλος", "كلب", "e\u0301"])
def test_what_the_default_font_has_stays_as_it_is(text, tmp_path):
    figure = Figure()
    artist = figure.text(0, 0, text)
    before = artist.get_fontfamily()
    fit_fonts(figure)
    assert (artist.get_text(), artist.get_fontfamily()) == (text, before)
    assert drawn(figure, tmp_path / "figure.png") == []


def test_a_text_is_shortened_between_characters():
    assert shortened("a dog on the grass", 8) == "a dog o…"
    assert shortened("👨‍👩‍👧🇫🇷🇩🇪 abc", 6) == "👨‍👩‍👧🇫🇷…"
    assert shortened("草地上的一只狗", 7) == "草地上…"
