"""Serves a page on which an object turns under the mouse, while it is trained or afterwards (extra `viewer`)."""
