"""Teaches images by a diffusion model: score distillation, one file a method."""
