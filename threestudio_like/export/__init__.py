"""Writes results for use elsewhere: mesh files and their textures."""
