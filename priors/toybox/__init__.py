"""Builds the small priors of the Toybox."""
