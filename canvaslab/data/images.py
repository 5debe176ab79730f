"""Images that need no network: Fashion-MNIST from its canonical IDX files, and scikit-learn's digits."""

import contextlib
import gzip
import hashlib
import math
import os
import struct
import urllib.request
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from .dataset import DataCorrupt, DataMissing, Dataset, cache_folder, data_folders, replacing

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# The authors' own two places, as named in their README. What comes from either is checked before it is kept.
FASHION_SOURCES = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)


class Known(NamedTuple):
    """The size in bytes and sha256 of a published file."""

    size: int
    sha256: str


FASHION_FILES = {
    "train-images-idx3-ubyte.gz": Known(26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    "train-labels-idx1-ubyte.gz": Known(29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    "t10k-images-idx3-ubyte.gz": Known(4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    "t10k-labels-idx1-ubyte.gz": Known(5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
}


def fashion_mnist(name: str, split: str) -> Dataset:
    """Fashion-MNIST: uint8 (60000 or 10000, 1, 28, 28) and labels.

    Each file is taken from the first place that has it: $CANVASLAB_DATA/fashion-mnist, the repository's data folder,
    the user's cache; else it is fetched into the cache. Each is checked against its sha256.
    Source: Xiao, Rasul, Vollgraf, arXiv:1708.07747.
    """
    stem = {"train": "train", "test": "t10k"}[split]
    x = read_idx(_fashion_file(f"{stem}-images-idx3-ubyte.gz"), "Fashion-MNIST's images")
    y = read_idx(_fashion_file(f"{stem}-labels-idx1-ubyte.gz"), "Fashion-MNIST's labels").long()
    axes = ("image", "channel", "row", "column")
    source = "https://github.com/zalandoresearch/fashion-mnist"
    return Dataset(x[:, None], y, FASHION_CLASSES, axes, name, split, "MIT, Zalando SE", source)


def read_idx(content: bytes, what: str = "the file") -> Tensor:
    """A gzipped IDX file of unsigned bytes as a uint8 tensor of the shape that its header states.

    Raises DataCorrupt when it is not gzip, not IDX of bytes, or of another length than its header says.
    """
    try:
        raw = bytearray(gzip.decompress(content))  # a bytearray, since torch wants memory that it may write to
    except (OSError, EOFError, ValueError) as error:
        raise DataCorrupt(f"{what} cannot be unzipped ({error}); fetch the file again") from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise DataCorrupt(f"{what} does not start as an IDX file of unsigned bytes; fetch the file again")
    shape = struct.unpack_from(f">{raw[3]}I", raw, 4)
    start, count = 4 + 4 * raw[3], math.prod(shape)
    if len(raw) != start + count:
        raise DataCorrupt(f"{what} holds {len(raw) - start} values, its header says {count}; fetch the file again")
    return torch.frombuffer(raw, dtype=torch.uint8, offset=start).view(shape) if count else torch.empty(shape).byte()


def find_fashion(file: str) -> Path | None:
    """Where the file is, in the first folder that has it, or None."""
    return next((p for f in data_folders() if (p := f / "fashion-mnist" / file).is_file()), None)


def fault(content: bytes, known: Known) -> str:
    """What is wrong with a file's content, in words; empty when it is the published file."""
    if len(content) != known.size:
        return f"has {len(content)} bytes instead of {known.size}"
    return "" if hashlib.sha256(content).hexdigest() == known.sha256 else "does not match its sha256"


def _fashion_file(file: str) -> bytes:
    path = find_fashion(file)
    if path is None:
        return _fetch_fashion(file)
    content = path.read_bytes()
    if wrong := fault(content, FASHION_FILES[file]):
        raise DataCorrupt(
            f"Fashion-MNIST's {file} in {path.parent} {wrong}: delete it "
            f"(a git checkout then restores it, or the next load fetches it) or copy it again from {FASHION_SOURCES[0]}"
        )
    return content


def _fetch_fashion(file: str) -> bytes:
    folder = cache_folder() / "fashion-mnist"
    failures = []
    for source in FASHION_SOURCES:
        try:
            with urllib.request.urlopen(source + file, timeout=30) as answer:
                content = answer.read()
        except OSError as error:
            failures.append(f"no answer ({getattr(error, 'reason', error)})")
            continue
        if wrong := fault(content, FASHION_FILES[file]):
            failures.append(f"what came {wrong}")
            continue
        # A machine without a writable home can still use what it has just fetched.
        with contextlib.suppress(OSError), replacing(folder / file) as temporary:
            temporary.write_bytes(content)
        return content
    places = ", ".join(str(f / "fashion-mnist") for f in data_folders())
    raise DataMissing(
        f"Fashion-MNIST's {file} is in none of {places}, and fetching it failed ({'; '.join(failures)}): "
        f"download it from {FASHION_SOURCES[0]}{file} into {folder}, or name the folder above "
        f"fashion-mnist in CANVASLAB_DATA (now {os.environ.get('CANVASLAB_DATA') or 'not set'})"
    )


def digits(name: str, split: str) -> Dataset:
    """scikit-learn's digits: uint8 (1437 or 360, 1, 8, 8); their 17 levels are spread over 0 to 255.

    The last 360 are the test split: they come from other writers than the first. Source: UCI, Alpaydin and Kaynak.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.from_numpy(images).mul(255 / 16).round().byte().view(-1, 1, 8, 8)
    y = torch.from_numpy(labels).long()
    part = slice(None, 1437) if split == "train" else slice(1437, None)
    axes = ("image", "channel", "row", "column")
    source = "scikit-learn, from the UCI repository"
    return Dataset(x[part].clone(), y[part].clone(), tuple("0123456789"), axes, name, split, "CC BY 4.0", source)
