"""Larger image sets through Hugging Face ``datasets``, in the hub's own schema, decoded once to one uint8 tensor."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .dataset import DataCorrupt, DataMissing, Dataset, cache_folder, data_folders, replacing

AXES = ("image", "channel", "row", "column")


class Spec(NamedTuple):
    """Where a set lives on the hub and what its columns are called there."""

    about: str
    repo: str
    licence: str
    image: str = "image"
    label: str | None = "label"
    mode: str = "RGB"
    size: int | None = None
    config: str | None = None
    splits: tuple[str, ...] = ("train", "test")


SPECS = {
    "mnist": Spec("70 000 handwritten digits, 28 x 28 grey; from the hub", "ylecun/mnist", "MIT", mode="L"),
    "cifar10": Spec(
        "60 000 photographs of 10 kinds, 32 x 32 colour; from the hub", "uoft-cs/cifar10", "not stated", image="img"
    ),
    "cifar100": Spec(
        "60 000 photographs of 100 kinds, 32 x 32 colour; from the hub",
        "uoft-cs/cifar100", "not stated", image="img", label="fine_label",
    ),
    "svhn": Spec(
        "99 289 house numbers, 32 x 32 colour; from the hub",
        "ufldl-stanford/svhn", "non-commercial", config="cropped_digits", splits=("train", "test", "extra"),
    ),
    "celeba": Spec(
        "202 599 faces, cropped to 64 x 64 colour; from the hub; label= names one of its 40 attributes",
        "flwrlabs/celeba", "non-commercial research", label=None, size=64, splits=("train", "valid", "test"),
    ),
}  # fmt: skip


def images(
    spec: Spec, name: str, split: str, size: int | None = None, limit: int | None = None, label: str | None = None
) -> Dataset:
    """A set of the hub as uint8 (N, channel, row, column) and its labels.

    size: crop to the central square and resize to size x size pixels (by area). limit: only the first rows.
    label: the hub's name of another label column.
    Read from $CANVASLAB_DATA/<name>/**/<split>*.parquet where it exists, else from the hub. The decoded tensors are
    kept in the cache folder, so the second load takes a moment. Raises DataMissing, DataCorrupt, ValueError.
    """
    if any(number is not None and number < 1 for number in (size, limit)):
        raise ValueError(f"size is {size} and limit {limit}; accepted: integers from 1, or None")
    size, label = size or spec.size, label or spec.label
    files = local_files(spec, name, split)
    origin = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files] or ["hub", spec.repo, spec.config]
    key = hashlib.sha256(json.dumps([origin, split, size, limit, label]).encode()).hexdigest()[:16]
    kept = cache_folder() / "decoded" / f"{name}-{split}-{key}.safetensors"
    made = _read_kept(kept)
    if made is None:
        made = _decode(spec, name, split, files, size, limit, label)
        _keep(kept, *made)
    x, y, classes = made
    return Dataset(x, y, classes, AXES, name, split, spec.licence, f"https://huggingface.co/datasets/{spec.repo}")


def local_files(spec: Spec, name: str, split: str) -> list[Path]:
    """The parquet files of one split in the first data folder that has any, in their order."""
    for folder in data_folders():
        base = folder / name
        if spec.config and (base / spec.config).is_dir():
            base = base / spec.config
        if files := sorted({*base.rglob(f"{split}-*.parquet"), *base.rglob(f"{split}.parquet")}):
            return files
    return []


def _open(spec: Spec, name: str, split: str, files: list[Path], stream: bool):
    import datasets

    if files:
        # Streaming reads the files where they lie; otherwise they would first be copied whole into another cache.
        paths = [str(f) for f in files]
        return datasets.load_dataset("parquet", data_files={split: paths}, split=split, streaming=True)
    try:
        return datasets.load_dataset(spec.repo, spec.config, split=split, streaming=stream)
    except Exception as error:  # whatever stopped the hub, the reader can do the same about it
        named = os.environ.get("CANVASLAB_DATA")
        target = Path(named or cache_folder()) / name
        raise DataMissing(
            f"{name}'s {split}-*.parquet is not in {target} ($CANVASLAB_DATA is {named or 'not set'}) and the hub gave "
            f"no answer ({str(error).splitlines()[0] if str(error) else type(error).__name__}): "
            f"where there is a network, run: hf download {spec.repo} --repo-type dataset --local-dir {target}"
        ) from error


def _decode(
    spec: Spec, name: str, split: str, files: list[Path], size: int | None, limit: int | None, label: str | None
) -> tuple[Tensor, Tensor | None, tuple[str, ...]]:
    import datasets

    rows = _open(spec, name, split, files, stream=limit is not None)
    columns = rows.column_names or []
    if missing := [c for c in (spec.image, label) if c and c not in columns]:
        where = files[0].parent if files else spec.repo
        raise DataCorrupt(f"{name} in {where} has no column {', '.join(missing)}; it has {', '.join(columns)}")
    feature = rows.features[label] if label else None
    rows = rows.select_columns([c for c in (spec.image, label) if c]).cast_column(
        spec.image, datasets.Image(decode=False)
    )
    try:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            pictures, labels = _pictures(spec, rows, size, limit, label, pool)
    except (OSError, ValueError) as error:  # pyarrow's and pillow's errors are of these kinds
        where = f"{', '.join(f.name for f in files)} in {files[0].parent}" if files else spec.repo
        raise DataCorrupt(f"{name} cannot be read from {where} ({error}): fetch the file again") from error
    y = torch.tensor(labels, dtype=torch.int64) if label else None
    return torch.from_numpy(pictures), y, _classes(feature, label)


def _pictures(
    spec: Spec, rows, size: int | None, limit: int | None, label: str | None, pool: ThreadPoolExecutor
) -> tuple[np.ndarray, list[int]]:
    labels: list[int] = []

    def cells() -> Iterator[bytes]:
        for batch in rows.iter(batch_size=1000):
            if label:
                labels.extend(int(value) for value in batch[label])
            yield from (cell["bytes"] for cell in batch[spec.image])

    decoded = []
    stream = islice(cells(), limit)
    while block := list(islice(stream, 4000)):  # a block at a time, so that the undecoded rest stays on the disk
        decoded.append(np.stack(list(pool.map(lambda cell: _picture(cell, spec.mode, size), block))))
    if not decoded:
        raise ValueError("it holds no rows")
    shapes = {array.shape[1:] for array in decoded}
    if len(shapes) > 1:
        raise ValueError(f"pictures differ in shape: {sorted(shapes)}; give size=")
    pictures = np.concatenate(decoded)
    return pictures, labels[: len(pictures)]


def _picture(content: bytes, mode: str, size: int | None) -> np.ndarray:
    from PIL import Image

    picture = Image.open(io.BytesIO(content)).convert(mode)
    if size is not None:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        box = (left, top, left + side, top + side)
        picture = picture.resize((size, size), Image.Resampling.BOX if size < side else Image.Resampling.BICUBIC, box)
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))  # (C, H, W)


def _classes(feature, label: str | None) -> tuple[str, ...]:
    if feature is None:
        return ()
    if names := getattr(feature, "names", None):
        return tuple(names)
    return (f"not {label}", str(label)) if getattr(feature, "dtype", None) == "bool" else ()


def _read_kept(path: Path) -> tuple[Tensor, Tensor | None, tuple[str, ...]] | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            y = file.get_tensor("y") if "y" in file.keys() else None  # noqa: SIM118 - this handle is no dict
            return file.get_tensor("x"), y, tuple(json.loads(file.metadata()["classes"]))
    except (OSError, SafetensorError, KeyError):
        return None  # absent, or spoilt by something else: it is only a copy, and is made again


def _keep(path: Path, x: Tensor, y: Tensor | None, classes: tuple[str, ...]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {"x": x} if y is None else {"x": x, "y": y}
    # A folder that cannot be written only costs the next load its speed.
    with suppress(OSError, SafetensorError), replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"classes": json.dumps(classes)})
