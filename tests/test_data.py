"""Laws of the image sets: checked files, clear sentences, no network, nothing written where nothing should be."""

import functools
import gzip
import http.server
import io
import re
import shutil
import struct
import threading
import time
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from canvaslab import data
from canvaslab.data import DataCorrupt, DataMissing, hub, images

TRAIN = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
TEST = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


@pytest.fixture
def test_files(empty_machine, root):
    """A data folder of one's own with the test split of Fashion-MNIST, and nothing anywhere else."""
    folder = empty_machine / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    for file in TEST:
        shutil.copy(root / "data" / "fashion-mnist" / file, folder)
    return folder


@pytest.fixture
def mirror(root, monkeypatch):
    """A small server on this machine that gives the shipped files, as the only source to fetch from. Counts."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        asked: ClassVar[list[str]] = []

        def log_message(self, *args):
            self.asked.append(self.path)

    handler = functools.partial(Quiet, directory=root / "data" / "fashion-mnist")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(images, "FASHION_SOURCES", (f"{here}nowhere/", here))
        Quiet.asked = []
        yield Quiet
        server.shutdown()


def test_fashion_mnist_equals_an_independent_reading(root):
    for split, (pictures, labels) in (("train", TRAIN), ("test", TEST)):
        raw = [gzip.decompress((root / "data/fashion-mnist" / f).read_bytes()) for f in (pictures, labels)]
        ours = data.load("fashion-mnist", split)
        assert np.array_equal(ours.x.numpy(), np.frombuffer(raw[0], np.uint8, offset=16).reshape(-1, 1, 28, 28))
        assert np.array_equal(ours.y.numpy(), np.frombuffer(raw[1], np.uint8, offset=8))
        assert torch.bincount(ours.y).tolist() == [len(ours) // 10] * 10


def test_fashion_mnist_has_its_published_mean_and_spread():
    x = data.load("fashion-mnist").x.double() / 255
    assert float(x.mean()) == pytest.approx(0.2860, abs=1e-4)
    assert float(x.std()) == pytest.approx(0.3530, abs=1e-4)


def test_fashion_mnist_is_read_in_under_a_second():
    def seconds() -> float:
        start = time.perf_counter()
        data.load("fashion-mnist")
        return time.perf_counter() - start

    assert min(seconds() for _ in range(5)) < 1


def test_the_folder_states_the_sums_that_are_checked(root):
    stated = (root / "data/fashion-mnist/README.md").read_text()
    rows = re.findall(r"`([\w-]+\.gz)` \| (\d+) \| `([0-9a-f]{64})`", stated)
    assert {name: (int(size), sha) for name, size, sha in rows} == images.FASHION_FILES


def test_a_read_only_folder_without_network_works(test_files, no_network):
    for path in (*test_files.iterdir(), test_files, test_files.parent, test_files.parents[1]):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(test_files.parents[1].rglob("*"))
    assert len(data.load("fashion-mnist", "test")) == 10_000
    assert sorted(test_files.parents[1].rglob("*")) == before
    test_files.parents[1].chmod(0o755)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[:5000], "has 5000 bytes instead of 4422102"),
        (lambda content: content[:9999] + bytes([content[9999] ^ 1]) + content[10000:], "does not match its sha256"),
        (lambda content: b"", "has 0 bytes"),
    ],
    ids=["truncated", "one bit flipped", "empty"],
)
def test_a_spoilt_file_is_named_with_its_folder_and_what_to_do(test_files, no_network, spoil, words):
    path = test_files / TEST[0]
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataCorrupt) as caught:
        data.load("fashion-mnist", "test")
    said = str(caught.value)
    assert all(part in said for part in (TEST[0], str(test_files), words, "delete it"))
    assert "\n" not in said


def test_a_missing_file_is_named_with_its_folders_and_what_to_do(test_files, no_network):
    (test_files / TEST[1]).unlink()
    with pytest.raises(DataMissing) as caught:
        data.load("fashion-mnist", "test")
    said = str(caught.value)
    assert all(part in said for part in (TEST[1], str(test_files), "download it from", "CANVASLAB_DATA"))
    assert "\n" not in said


def test_what_is_missing_is_fetched_checked_and_kept(empty_machine, mirror):
    first = data.load("fashion-mnist", "test")
    assert mirror.asked.count(f"/{TEST[0]}") == 1
    kept = empty_machine / "cache" / "fashion-mnist"
    assert sorted(p.name for p in kept.iterdir()) == sorted(TEST)  # and no temporary file is left
    mirror.asked.clear()
    assert torch.equal(data.load("fashion-mnist", "test").x, first.x)
    assert mirror.asked == []


def test_a_fetched_file_with_the_wrong_sum_is_not_kept(empty_machine, mirror, monkeypatch):
    wrong = {name: images.Known(size, "0" * 64) for name, (size, _) in images.FASHION_FILES.items()}
    monkeypatch.setattr(images, "FASHION_FILES", wrong)
    with pytest.raises(DataMissing, match="does not match its sha256"):
        data.load("fashion-mnist", "test")
    assert not list(empty_machine.rglob("*.gz*"))


def test_fetching_works_where_nothing_can_be_written(empty_machine, mirror, monkeypatch):
    (empty_machine / "file").write_text("a file cannot hold a cache folder")
    monkeypatch.setenv("CANVASLAB_CACHE", str(empty_machine / "file" / "cache"))
    assert len(data.load("fashion-mnist", "test")) == 10_000


def idx(array: np.ndarray) -> bytes:
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (2, 3, 4, 5), (0, 28, 28)])
def test_idx_of_any_rank(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(images.read_idx(idx(array)).numpy(), array)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not gzip at all", "cannot be unzipped"),
        (idx(np.zeros((50, 50), np.uint8))[:-9], "cannot be unzipped"),
        (gzip.compress(b"\0\0"), "does not start as an IDX file"),
        (gzip.compress(b"\0\0\x0d\1" + bytes(8)), "does not start as an IDX file of unsigned bytes"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\5abc"), "holds 3 values, its header says 5"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\2abc"), "holds 3 values, its header says 2"),
    ],
)
def test_what_is_no_idx_is_refused(content, words):
    with pytest.raises(DataCorrupt, match=words):
        images.read_idx(content)


def test_digits_are_those_of_scikit_learn(no_network):
    from sklearn.datasets import load_digits

    theirs, labels = load_digits(return_X_y=True)
    parts = [data.load("digits", split) for split in ("train", "test")]
    x = torch.cat([part.x for part in parts]).double().mul(16 / 255).round()
    assert np.array_equal(x.view(-1, 64).numpy(), theirs)
    assert np.array_equal(torch.cat([part.y for part in parts]).numpy(), labels)


# --- sets of the hub, from a folder in the hub's own schema


def png(array: np.ndarray) -> dict:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": None}


def write_parquet(path, columns: dict, features: dict) -> None:
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).to_parquet(path)


@pytest.fixture
def cifar(empty_machine):
    """Five random colour pictures in two files, lossless, as CIFAR-10 lies on the hub. Gives pixels and folder."""
    import datasets

    pixels = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    kinds = datasets.ClassLabel(names=["airplane", "frog", "ship"])
    folder = empty_machine / "data" / "cifar10" / "plain_text"
    for part, rows in enumerate(([0, 1, 2], [3, 4])):
        columns = {"img": [png(pixels[i]) for i in rows], "label": [i % 3 for i in rows]}
        path = folder / f"train-0000{part}-of-00002.parquet"
        write_parquet(path, columns, {"img": datasets.Image(), "label": kinds})
    return pixels, folder


def test_a_local_folder_in_the_hub_s_schema_is_read_exactly(cifar, no_network):
    pixels, _ = cifar
    loaded = data.load("cifar10")
    assert np.array_equal(loaded.x.numpy(), pixels.transpose(0, 3, 1, 2))
    assert loaded.y.tolist() == [0, 1, 2, 0, 1]
    assert loaded.classes == ("airplane", "frog", "ship")
    assert torch.equal(data.load("cifar10", limit=4).x, loaded.x[:4])
    assert data.load("cifar10", limit=4).y.tolist() == [0, 1, 2, 0]


def test_the_second_load_decodes_nothing_until_the_files_change(cifar, no_network, monkeypatch):
    pixels, folder = cifar
    first, decode, calls = data.load("cifar10"), hub._decode, []
    monkeypatch.setattr(hub, "_decode", lambda *args: calls.append(args) or decode(*args))
    second = data.load("cifar10")
    assert torch.equal(second.x, first.x)
    assert (second.y.tolist(), second.classes, calls) == (first.y.tolist(), first.classes, [])
    (folder / "train-00001-of-00002.parquet").unlink()
    assert np.array_equal(data.load("cifar10").x.numpy(), pixels[:3].transpose(0, 3, 1, 2))


def test_a_spoilt_copy_in_the_cache_is_made_again(cifar, empty_machine, no_network):
    first = data.load("cifar10").x.clone()
    (kept,) = (empty_machine / "cache").rglob("*.safetensors")
    kept.write_bytes(b"spoilt")
    assert torch.equal(data.load("cifar10").x, first)
    assert kept.stat().st_size > 1000


def test_a_spoilt_parquet_file_is_named(cifar, no_network):
    folder = cifar[1]
    path = folder / "train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataCorrupt, match=re.escape(str(folder))) as caught:
        data.load("cifar10")
    assert path.name in str(caught.value)


def test_faces_are_cropped_to_the_central_square_and_labelled_by_attribute(empty_machine, no_network):
    import datasets

    # 178 wide, 218 high, as the originals: the middle square is grey 100, what must go is white.
    face = np.full((218, 178, 3), 255, np.uint8)
    face[20:198] = 100
    columns = {"image": [png(face), png(face)], "celeb_id": [1, 2], "Smiling": [True, False]}
    features = {"image": datasets.Image(), "celeb_id": datasets.Value("int64"), "Smiling": datasets.Value("bool")}
    write_parquet(empty_machine / "data/celeba/data/valid-00000-of-00001.parquet", columns, features)
    faces = data.load("celeba", "valid", label="Smiling")
    assert faces.x.shape == (2, 3, 64, 64)
    assert (faces.x == 100).all()
    assert (faces.y.tolist(), faces.classes) == ([1, 0], ("not Smiling", "Smiling"))
    assert data.load("celeba", "valid").y is None
    with pytest.raises(DataCorrupt, match="no column Frowning; it has image, celeb_id, Smiling"):
        data.load("celeba", "valid", label="Frowning")


def test_without_folder_and_network_the_fetching_command_is_named(empty_machine, no_network):
    with pytest.raises(DataMissing) as caught:
        data.load("mnist", "test")
    said = str(caught.value)
    folder = empty_machine / "data" / "mnist"
    assert f"hf download ylecun/mnist --repo-type dataset --local-dir {folder}" in said
    assert "test-*.parquet" in said
    assert "\n" not in said


# --- the registry


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("fashion_mnist", "fashion-mnist"), ("MNIST", "mnist"), ("moon", "moons"), ("cifar-10", "cifar10")],
)
def test_an_unknown_name_gets_the_list_and_the_nearest(asked, meant):
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'") as caught:
        data.load(asked)
    assert all(name in str(caught.value) for name in data.names())


def test_what_is_like_nothing_gets_the_list_only():
    with pytest.raises(ValueError, match="known: two-peaks") as caught:
        data.load("zzzz")
    assert "Did you mean" not in str(caught.value)


def test_each_axis_has_a_meaning():
    for name in ("moons", "two-peaks", "digits", "fashion-mnist"):
        loaded = data.load(name, "test")
        assert len(loaded.axes) == loaded.x.ndim
        assert len(loaded) == len(loaded.y)
        assert loaded.licence
        assert loaded.source
        assert name in repr(loaded)
