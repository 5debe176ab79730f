"""What every data set is once loaded, where the files live, and the errors of files."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Generator, Tensor


class DataMissing(FileNotFoundError):
    """A file is nowhere to be found: the sentence names the file, the folders searched and what to do."""


class DataCorrupt(ValueError):
    """A file is there but is not what it should be: the sentence names it, what is wrong and what to do."""


@dataclass(frozen=True)
class Dataset:
    """A whole data set in memory.

    x: (N, ...) tensor; images are uint8 (N, channel, row, column), point sets float32 (N, dim).
    y: (N,) int64 indices into ``classes``, or None. axes: the meaning of each axis of x.
    mixture: for point sets that are Gaussian mixtures, the arguments of ``diffusion.Mixture`` that describe the law.
    """

    x: Tensor
    y: Tensor | None
    classes: tuple[str, ...]
    axes: tuple[str, ...]
    name: str
    split: str
    licence: str
    source: str
    mixture: dict | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis} {size}" for axis, size in zip(self.axes, self.x.shape, strict=True))
        kinds = f", {len(self.classes)} classes" if self.classes else ""
        return f"{self.name} ({self.split}): {axes}; {str(self.x.dtype).removeprefix('torch.')}{kinds}; {self.licence}"


def data_folders() -> list[Path]:
    """Folders searched for data, in order: $CANVASLAB_DATA, the repository's ``data``, the user's cache."""
    named = os.environ.get("CANVASLAB_DATA")
    folders = (Path(named).expanduser() if named else None, shipped_folder(), cache_folder())
    return [folder for folder in folders if folder is not None]


def shipped_folder() -> Path | None:
    """The repository's ``data``, or None where the package is installed without its repository."""
    repository = Path(__file__).resolve().parents[2]
    return repository / "data" if (repository / "pyproject.toml").exists() else None


def cache_folder() -> Path:
    """The user's cache: $CANVASLAB_CACHE, else ``canvaslab`` in $XDG_CACHE_HOME or ~/.cache. It may not exist yet."""
    if named := os.environ.get("CANVASLAB_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "canvaslab"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to ``path`` at the end: a crash leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def generator(seed: int, *words: str) -> Generator:
    """A random generator that is a function of the seed (>= 0) and the words only."""
    if seed < 0:
        raise ValueError(f"seed is {seed}; accepted: integers from 0")
    # torch keeps 32 bits of a CPU seed, so neighbours such as (seed, word) are spread by a hash first.
    salt = [int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) for word in words]
    return Generator().manual_seed(int(np.random.SeedSequence([seed, *salt]).generate_state(1)[0]))
