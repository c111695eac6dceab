"""Represents 3D objects: fields, meshes, triplanes, backgrounds."""
