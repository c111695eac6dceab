"""Loads and makes training data: images, meshes, and the Toybox world."""
