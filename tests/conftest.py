"""Settings that must stand before torch is imported."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch and numba have a thread pool each, and idle ones would spin
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
