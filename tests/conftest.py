"""What several test files share."""

import socket
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to open a connection or to look up a name fails the way an unplugged cable does."""

    def unplugged(*args, **kwargs):
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, unplugged)
    monkeypatch.setattr(socket, "getaddrinfo", unplugged)
    monkeypatch.setattr(socket, "create_connection", unplugged)


@pytest.fixture
def empty_machine(monkeypatch, tmp_path):
    """A machine on which no data lie: the only data folder and the cache are empty folders. Gives their parent."""
    from canvaslab.data import dataset

    monkeypatch.setenv("CANVASLAB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CANVASLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(dataset, "shipped_folder", lambda: None)
    return tmp_path
