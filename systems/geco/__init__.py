"""Makes a 3D object of one image in one pass (GECO), and distils the models that do."""
