"""Turns one result into numbers: the metrics, and the networks that they ask."""
