"""Small functions that many rooms share."""
