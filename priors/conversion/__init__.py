"""Turns models that are published in other layouts into folders that this project loads."""
