"""Makes the Toybox: a procedural world of toys with exact images, shapes and captions."""
