"""Renders scenes from cameras, and regularises what is rendered."""
