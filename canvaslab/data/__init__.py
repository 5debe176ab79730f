"""Data as whole tensors: ``load(name)`` gives them with the meaning of each axis, ``Batches`` walks through them."""

from .batches import Batches
from .dataset import DataCorrupt, DataMissing, Dataset
from .registry import load, names

__all__ = ["Batches", "DataCorrupt", "DataMissing", "Dataset", "load", "names"]
