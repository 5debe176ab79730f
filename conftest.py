"""For every test and notebook: the smoke tier, one thread each, nothing from the network."""

import os

os.environ.setdefault("CANVASLAB_TIER", "smoke")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
