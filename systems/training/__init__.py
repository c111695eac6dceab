"""Trains the priors, the reconstructor and the scorer."""
