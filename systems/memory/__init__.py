"""Estimates what the recipes for large models take of a GPU's memory: counted models, and the arithmetic on them."""
