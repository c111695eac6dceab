"""Serves a page on which visitors make meshes of their images and texts, one after the other (extra `demo`)."""
