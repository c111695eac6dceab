"""Hues as angles about grey."""

import numpy as np
import torch


def hue(colors, dim):
    """The hues of colours by their angle about grey, each as heavy as it is colourful: complex numbers."""
    red, green, blue = colors.unbind(dim)
    third = torch.polar(torch.ones(()), torch.tensor(2 * np.pi / 3))
    return red + green * third + blue * third.conj()


def turned(before, after, dim):
    """The angle by which an object's hues have turned, from -pi to pi, for each of B objects."""
    return (hue(before, dim).conj() * hue(after, dim)).flatten(1).sum(1).angle()
