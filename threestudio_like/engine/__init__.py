"""Runs a recipe: the training loop, checkpoints, the run's folder, progress."""
