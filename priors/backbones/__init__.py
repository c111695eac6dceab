"""Adapts pretrained diffusion models to one interface: encode, decode, predict the noise."""
