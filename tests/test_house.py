"""The house rules: what is public is listed, sorted, documented; `.ci/check_house.py` finds what it is made to find."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import multimodal_cam as mc

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "check_house.py"


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_house", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tree(folder: Path, **files: str) -> Path:
    """A package `p` in `folder`; the keys are paths with `__` for a slash, packages on the way get an empty `__init__`."""
    for name, text in {"p": "", **files}.items():
        path = folder / "p" / ("__init__.py" if name == "p" else f"{name.replace('__', '/')}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.parent != folder / "p":
            (path.parent / "__init__.py").touch()
    return folder / "p"


# ---- what is public ----------------------------------------------------------------------------------------------------------


def in_order(name: str) -> tuple[int, str]:
    """Constants, classes, functions, each by the alphabet, as ruff's RUF022 has it."""
    return 0 if name.isupper() else 1 if name[0].isupper() else 2, name


def test_exported_members() -> None:
    assert mc.__all__ == sorted(set(mc.__all__), key=in_order)
    assert set(mc.__all__) <= set(dir(mc))
    (block,) = (node for node in ast.parse(Path(mc.__file__).read_text()).body if isinstance(node, ast.If))
    seen_by_an_ide = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(seen_by_an_ide) == sorted(mc.__all__)


@pytest.mark.parametrize("name", mc.__all__)
def test_exported_member_is_documented(name: str) -> None:
    member = getattr(mc, name)
    if inspect.isclass(member) or inspect.isfunction(member):
        assert member.__doc__, f"{name} has no docstring"  # not inspect.getdoc, which would find a parent's
        assert not member.__doc__.startswith(f"{name}("), f"{name} has only the docstring that a dataclass writes by itself"
    pages = "\n".join(path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
    assert re.search(rf"\b{name}\b", pages), f"neither README nor docs mention {name}"


OWN_TESTS = ("captioner", "family")  # pages whose blocks need a decoder, or a checkpoint: tests of their own run them


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in sorted(ROOT.glob("docs/how-to/*.md")) if "```python" in page.read_text() and page.stem not in OWN_TESTS],
    ids=lambda page: page.stem,
)
def test_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/how-to/*.md"))], ids=lambda page: page.stem)
def test_files_that_pages_name_are_there(page: Path) -> None:
    for path in re.findall(r"`((?:multimodal_cam|tests)/[\w/.]*)`", page.read_text()):
        assert (ROOT / path).exists(), path


def test_unknown_member_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'gradcam'"):
        mc.gradcam  # noqa: B018


def test_import_loads_no_torch() -> None:
    code = "import sys, multimodal_cam as mc; dir(mc); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- .ci/check_house.py ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "from .a import _x",
        "from p.a import _x as x",
        "from .a import f, \\\n    _x",
        "if 1:\n    def f():\n        from .a import _x",
        "from . import a\na._x",
        "from . import a as other\nother._x()",
        "import p.a\np.a._x",
        "import p.a as a\nprint(a._x)",
        "from .a import Thing\nThing._x",
    ],
)
def test_private_names_stay_in_their_module(house: ModuleType, tmp_path: Path, line: str) -> None:
    package = tree(tmp_path, a="_x = f = 1\nclass Thing:\n    _x = 1\n", b=line)
    (found,) = house.offences(package)
    assert found.path == package / "b.py"
    assert re.fullmatch(r"_x is private to p\.a(\.Thing)?", found.what)


@pytest.mark.parametrize(
    "line",
    [
        "from .a import f",
        "from os import _exit",
        "import os\nos._exit",
        "from . import _hidden\n_hidden.f",
        "from ._hidden import f",
        "from . import a\na.__name__",
        "class C:\n    def f(self):\n        return self._x",
        "from a import _x",  # another distribution's module of that name
    ],
)
def test_what_is_not_private(house: ModuleType, tmp_path: Path, line: str) -> None:
    assert house.offences(tree(tmp_path, a="_x = f = 1", _hidden="f = 1", b=line)) == []


def test_relative_imports_of_sub_packages(house: ModuleType, tmp_path: Path) -> None:
    package = tree(tmp_path, a="_x = 1", sub__b="from ..a import _x", sub__c="from .b import _y", sub__d="from .. import a\na._x")
    (package / "sub" / "__init__.py").write_text("from .b import _z")
    assert [str(found) for found in house.offences(package)] == [
        f"{package}/sub/__init__.py:1: _z is private to p.sub.b",
        f"{package}/sub/b.py:1: _x is private to p.a",
        f"{package}/sub/c.py:1: _y is private to p.sub.b",
        f"{package}/sub/d.py:2: _x is private to p.a",
    ]


def test_modules_have_names_of_their_own(house: ModuleType, tmp_path: Path) -> None:
    package = tree(tmp_path, one__text="", two__text="", one__other="")
    assert [str(found) for found in house.offences(package)] == [
        f"{package}/two/text.py:1: a second module text, the first is {package}/one/text.py"
    ]


def test_families_and_networks_share_names(house: ModuleType, tmp_path: Path) -> None:
    files = ("models__nic__spec", "models__sat__spec", "models__nic__network", "models__sat__network", "methods__spec")
    package = tree(tmp_path, **dict.fromkeys([*files, "adapters__hf__families__clip", "adapters__clip", "__main__"], ""))
    assert house.offences(package) == []
    (package / "models" / "nic" / "weights.py").touch()
    (package / "models" / "sat" / "weights.py").touch()
    assert [found.path.name for found in house.offences(package)] == ["weights.py"]


def test_no_class_name_stands_twice(house: ModuleType, tmp_path: Path) -> None:
    package = tree(tmp_path, a="class Part: ...\nclass Other: ...", b="\nclass Part: ...", c="def f():\n    class Part: ...")
    first = f"a second class Part, the first is at {package}/a.py:1"
    assert [str(found) for found in house.offences(package)] == [f"{package}/b.py:2: {first}", f"{package}/c.py:2: {first}"]


def test_linked_folders_are_looked_into(house: ModuleType, tmp_path: Path) -> None:
    package, outside = tree(tmp_path, a="class Part: ..."), tmp_path / "models"
    outside.mkdir()
    (outside / "b.py").write_text("class Part: ...")
    (package / "models").symlink_to(outside)
    assert [found.path for found in house.offences(package)] == [package / "models" / "b.py"]


def test_script(tmp_path: Path) -> None:
    def run(*args: str | Path) -> tuple[int, str]:
        done = subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, cwd=tmp_path, check=False)
        return done.returncode, done.stdout

    package = tree(tmp_path, a="_x = 1")
    assert run(package) == (0, "")
    (package / "b.py").write_text("from .a import _x")
    assert run("p") == (1, "p/b.py:1: _x is private to p.a\n")
    assert run("nowhere") == (2, "")
