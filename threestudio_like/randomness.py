"""Random numbers as functions of what they are for: no hidden state, so a resumed run draws what the first would have."""

import hashlib

import torch


def seed_for(*keys: object) -> int:
    """A 63-bit seed that depends on every key (run seed, stage, step, rank, purpose ...), the same on every machine."""
    text = "\x1f".join(str(key) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(device: torch.device | str, *keys: object) -> torch.Generator:
    """A generator on `device`, seeded by the keys."""
    return torch.Generator(device).manual_seed(seed_for(*keys))
