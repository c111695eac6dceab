"""Turns YAML and command-line keys into the typed configs of registered classes."""
