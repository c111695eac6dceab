"""Random numbers as functions of their purpose: there is no hidden state, so a resumed run draws the same."""

import hashlib

import numpy as np
import torch


def seed_for(*keys: object) -> int:
    """Derives a 63-bit seed from every key (run seed, stage, step, rank, purpose ...), the same on every machine."""
    text = "\x1f".join(str(key) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(device: torch.device | str, *keys: object) -> torch.Generator:
    """Creates a generator on `device`, seeded by the keys."""
    return torch.Generator(device).manual_seed(seed_for(*keys))


def on_the_cpu(generator: torch.Generator) -> tuple[torch.Generator, np.random.Generator]:
    """Creates a torch and a numpy generator on the CPU, seeded by the next number of this one, wherever it lives."""
    seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    return torch.Generator().manual_seed(seed), np.random.default_rng(seed)
