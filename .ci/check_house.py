"""What ruff, mypy and import-linter do not ask of a package: private names, names of modules, names of classes.

    python .ci/check_house.py [PACKAGE]

- A private name (`_x`) is neither imported from another module of the package nor read on something imported from one.
- No two modules have the same base name, so that a file is found, and spoken of, by its name alone.
- No class name is defined twice.

Prints `file:line: what is wrong` for each offence and exits with 1 if there is one. Needs the standard library only, and runs
no code of PACKAGE.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path("multimodal_cam")
REPEATED = ("__init__", "__main__")  # base names that every package may have
REPEATED_IN_FOLDERS = (("models/*/*.py", ("network", "spec")), ("adapters/hf/families/*.py", None))  # None: any base name


class Module(NamedTuple):
    """A source file: `name` is dotted, `folder` the dotted package that its relative imports start from."""

    name: str
    folder: str
    path: Path
    tree: ast.Module


class Offence(NamedTuple):
    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def offences(package: Path) -> list[Offence]:
    """All offences in the package at the folder `package`, in the order of files and lines."""
    modules = {module.name: module for module in _modules(package)}
    private = (found for module in modules.values() for found in _private_names(module, modules))
    return sorted([*private, *_repeated_modules(modules.values(), package), *_repeated_classes(modules.values())])


def _modules(package: Path) -> Iterator[Module]:
    walk = os.walk(package, followlinks=True)  # data/ and models/ are links
    for path in sorted(Path(folder, file) for folder, _, files in walk for file in files if file.endswith(".py")):
        *parents, base = (package.name, *path.relative_to(package).with_suffix("").parts)
        here = ".".join(parents)
        yield Module(here if base == "__init__" else f"{here}.{base}", here, path, ast.parse(path.read_bytes(), path))


def _private_names(module: Module, modules: Mapping[str, Module]) -> Iterator[Offence]:
    imported: dict[str, str] = {}  # name in this file -> dotted name of what it is in the package
    for node in ast.walk(module.tree):
        for alias, origin, local in _imports(node, module):
            home, _, name = origin.rpartition(".")
            if origin in modules or home in modules:
                imported[local] = origin
            if _is_private(name) and origin not in modules and home in modules and home != module.name:
                yield Offence(module.path, alias.lineno, f"{name} is private to {home}")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            root, _, rest = _dotted(node.value).partition(".")
            owner = ".".join(filter(None, (imported.get(root), rest)))
            if root in imported and f"{owner}.{node.attr}" not in modules and owner != module.name:
                yield Offence(module.path, node.lineno, f"{node.attr} is private to {owner}")


def _imports(node: ast.AST, module: Module) -> Iterator[tuple[ast.alias, str, str]]:
    """What `node` imports: the alias, the dotted name of its origin, the name that it gets in the file."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            root = alias.name.partition(".")[0]
            yield (alias, alias.name, alias.asname) if alias.asname else (alias, root, root)
    elif isinstance(node, ast.ImportFrom):
        parents = module.folder.split(".")
        start = parents[: len(parents) + 1 - node.level] if node.level else []
        home = ".".join([*start, *filter(None, [node.module])])
        for alias in node.names:
            yield alias, f"{home}.{alias.name}", alias.asname or alias.name


def _repeated_modules(modules: Iterable[Module], package: Path) -> Iterator[Offence]:
    first: dict[str, Path] = {}
    for _, _, path, _ in modules:
        if path.stem not in REPEATED and not _may_repeat(path.relative_to(package)):
            if path.stem in first:
                yield Offence(path, 1, f"a second module {path.stem}, the first is {first[path.stem]}")
            first.setdefault(path.stem, path)


def _may_repeat(path: Path) -> bool:
    return any(path.match(pattern) and (bases is None or path.stem in bases) for pattern, bases in REPEATED_IN_FOLDERS)


def _repeated_classes(modules: Iterable[Module]) -> Iterator[Offence]:
    first: dict[str, str] = {}
    for _, _, path, tree in modules:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                if node.name in first:
                    yield Offence(path, node.lineno, f"a second class {node.name}, the first is at {first[node.name]}")
                first.setdefault(node.name, f"{path}:{node.lineno}")


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression that reads so, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


def main(package: Path = PACKAGE) -> int:
    if not (package / "__init__.py").is_file():
        print(f"{package}: expected the folder of a package; run this at the root of the repository", file=sys.stderr)
        return 2
    found = offences(package)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
