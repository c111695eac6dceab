"""Toybox categories with a face: animals, a snowman, a robot. Front is +x, up is +z; lengths are in free units."""

from threestudio_like.data.toybox.assembly import Assembly

BLACK, WHITE, ORANGE = (0.05, 0.05, 0.06), (0.95, 0.95, 0.93), (0.95, 0.5, 0.1)
DARK, PINK, WOOD = (0.16, 0.14, 0.14), (0.95, 0.62, 0.66), (0.4, 0.26, 0.14)
BOTH_SIDES = (-1, 1)


def shade(toy: Assembly, factor: float):
    """Returns the toy's own colour, darker (factor < 1) or lighter (factor > 1)."""
    color = toy.main_color * factor if factor <= 1 else 1 - (1 - toy.main_color) / factor
    return color.clip(0.03, 0.97)


def eyes(toy, x, y, z, radius):
    """Adds two black eyes, left and right of the middle."""
    for side in BOTH_SIDES:
        toy.ellipsoid((x, side * y, z), radius, BLACK)


def four_legs(toy, front, back, y, top, radius, foot=None):
    """Adds four legs from height `top` down, with feet where they have a colour `foot`."""
    for x in (front, back):
        for side in BOTH_SIDES:
            toy.limb((x, side * y, top), (x, side * y, radius), radius * 1.1, radius, blend=0.05)
            if foot is not None:
                toy.ellipsoid((x + 0.03, side * y, radius * 0.8), (radius * 1.3, radius * 1.1, radius * 0.8), foot)


def dog(toy, u, feature):
    """Adds a standing dog; features: long ears, a long tail."""
    length, leg = u(0.5, 0.62), u(0.42, 0.52)
    top = leg + 0.16
    toy.limb((-length, 0, top), (length, 0, top + 0.05), 0.21, 0.25)
    four_legs(toy, length - 0.02, -length + 0.02, 0.14, top - 0.05, 0.09)
    head = (length + 0.22, 0, top + u(0.42, 0.52))
    toy.limb((length, 0, top + 0.08), (head[0], 0, head[2] - 0.05), 0.16, 0.14, blend=0.1)
    toy.ellipsoid(head, (0.25, 0.22, 0.22), blend=0.06)
    snout = u(0.34, 0.44)
    toy.limb((head[0], 0, head[2] - 0.07), (head[0] + snout, 0, head[2] - 0.11), 0.13, 0.1, shade(toy, 1.5), blend=0.04)
    toy.ellipsoid((head[0] + snout + 0.09, 0, head[2] - 0.07), 0.065, BLACK)
    eyes(toy, head[0] + 0.19, 0.11, head[2] + 0.08, 0.05)
    drop = 0.42 if feature == "with long ears" else 0.22
    for side in BOTH_SIDES:
        toy.limb(
            (head[0] - 0.05, side * 0.2, head[2] + 0.12),
            (head[0] - 0.08, side * 0.27, head[2] + 0.1 - drop),
            0.07,
            0.09,
            shade(toy, 0.45),
        )
    tail = 0.4 if feature == "with a long tail" else 0.2
    toy.limb((-length - 0.1, 0, top + 0.1), (-length - 0.15 - tail, 0, top + 0.2 + tail), 0.06, 0.035)


def cat(toy, u, feature):
    """Adds a sitting cat; features: a raised tail, a collar."""
    height = u(0.62, 0.72)
    toy.limb((-0.12, 0, 0.3), (0.05, 0, height), 0.33, 0.2)
    for side in BOTH_SIDES:
        toy.limb((0.2, side * 0.12, height - 0.15), (0.27, side * 0.12, 0.07), 0.09, 0.075, blend=0.05)
        toy.ellipsoid((0.0, side * 0.27, 0.16), (0.27, 0.13, 0.16), blend=0.05)
    head = (0.14, 0, height + 0.3)
    toy.ellipsoid(head, (0.26, 0.29, 0.25))
    for side in BOTH_SIDES:
        toy.cone(
            (head[0] - 0.02, side * 0.17, head[2] + 0.14), (head[0] - 0.04, side * 0.22, head[2] + 0.42), 0.13, 0.01
        )
        toy.ellipsoid((head[0] + 0.22, side * 0.1, head[2] + 0.05), (0.05, 0.06, 0.06), (0.55, 0.85, 0.25))
        toy.ellipsoid((head[0] + 0.26, side * 0.1, head[2] + 0.05), (0.03, 0.03, 0.05), BLACK)
        toy.ellipsoid((head[0] + 0.22, side * 0.06, head[2] - 0.09), 0.08, WHITE)
    toy.ellipsoid((head[0] + 0.28, 0, head[2] - 0.04), 0.045, PINK)
    if feature == "with a raised tail":
        toy.limb((-0.38, 0, 0.15), (-0.62, 0, 0.5), 0.08, 0.07)
        toy.limb((-0.62, 0, 0.5), (-0.55, 0, 1.0), 0.07, 0.05)
    else:
        toy.limb((-0.35, 0, 0.1), (-0.85, 0, 0.16), 0.08, 0.06)
    if feature == "with a collar":
        toy.torus(
            (0.1, 0, height + 0.06),
            0.2,
            0.045,
            (0.15, 0, 1),
            (0.85, 0.1, 0.1) if toy.main_color[0] < 0.6 else (0.1, 0.3, 0.85),
        )


def duck(toy, u, feature):
    """Adds a duck; features: a hat, a long bill."""
    length = u(0.46, 0.56)
    toy.ellipsoid((0, 0, 0.36), (length, 0.38, 0.34))
    toy.cone((-length * 0.6, 0, 0.42), (-length - 0.26, 0, 0.72), 0.22, 0.02, blend=0.1)
    head = (length * 0.62, 0, u(0.9, 0.98))
    toy.limb((length * 0.5, 0, 0.5), (head[0], 0, head[2] - 0.05), 0.2, 0.18, blend=0.1)
    toy.ellipsoid(head, 0.27)
    bill = 0.36 if feature == "with a long bill" else 0.24
    toy.ellipsoid((head[0] + 0.22 + bill / 2, 0, head[2] - 0.06), (bill * 0.8, 0.15, 0.06), ORANGE, turn=(0, 8, 0))
    eyes(toy, head[0] + 0.2, 0.15, head[2] + 0.1, 0.055)
    for side in BOTH_SIDES:
        toy.ellipsoid((-0.06, side * 0.35, 0.42), (0.32, 0.07, 0.2), shade(toy, 0.55), turn=(0, 12, 0))
    if feature == "with a hat":
        hat(toy, (head[0] - 0.02, 0, head[2] + 0.22), 0.24)


def hat(toy, base, radius):
    """Adds a top hat that stands on `base`."""
    x, y, z = base
    toy.cylinder((x, y, z), (x, y, z + 0.05), radius * 1.25, DARK)
    toy.cylinder((x, y, z), (x, y, z + radius * 1.3), radius * 0.8, DARK)


def penguin(toy, u, feature):
    """Adds a penguin; features: open wings, a scarf."""
    height = u(0.95, 1.1)
    toy.limb((0, 0, 0.38), (0, 0, height), 0.38, 0.26)
    toy.ellipsoid((0.15, 0, 0.46), (0.28, 0.28, 0.4), WHITE)
    toy.ellipsoid((0.11, 0, height - 0.02), (0.19, 0.2, 0.17), WHITE)
    toy.cone((0.26, 0, height), (0.54, 0, height - 0.03), 0.09, 0.01, ORANGE)
    eyes(toy, 0.26, 0.1, height + 0.1, 0.045)
    spread = 0.62 if feature == "with open wings" else 0.42
    for side in BOTH_SIDES:
        toy.limb((0, side * 0.26, height - 0.24), (-0.04, side * spread, 0.42), 0.09, 0.06, blend=0.03)
        toy.ellipsoid((0.16, side * 0.17, 0.04), (0.24, 0.13, 0.06), ORANGE)
    if feature == "with a scarf":
        toy.torus(
            (0, 0, height - 0.2),
            0.28,
            0.075,
            (0, 0, 1),
            (0.85, 0.12, 0.12) if toy.main_color[0] < 0.6 else (0.1, 0.35, 0.8),
        )


def fish(toy, u, feature):
    """Adds a fish; features: a tall fin, stripes."""
    length, height = u(0.6, 0.75), u(0.32, 0.4)
    toy.ellipsoid((0, 0, 0), (length, 0.22, height))
    toy.cone((-length * 0.75, 0, 0), (-length - 0.1, 0, 0.0), 0.14, 0.07, blend=0.08)
    for side in BOTH_SIDES:
        toy.ellipsoid((-length - 0.2, 0, side * 0.18), (0.3, 0.05, 0.13), shade(toy, 0.6), turn=(0, side * 42, 0))
        toy.ellipsoid((length * 0.62, side * 0.13, 0.09), 0.1, WHITE)
        toy.ellipsoid((length * 0.68, side * 0.2, 0.09), 0.055, BLACK)
        toy.ellipsoid((0.02, side * 0.27, -0.08), (0.2, 0.04, 0.1), shade(toy, 0.6), turn=(side * 30, 20, 0))
    fin = 0.34 if feature == "with a tall fin" else 0.18
    toy.ellipsoid((-0.08, 0, height - 0.02), (0.28, 0.045, fin), shade(toy, 0.6), turn=(0, -15, 0))
    toy.torus((length * 0.95, 0, -0.06), 0.06, 0.035, (1, 0, 0), PINK)
    if feature == "with stripes":
        for x in (-0.3, 0.0, 0.27):
            scale = (1 - (x / length) ** 2) ** 0.5
            toy.torus((x, 0, 0), 0.02, 0.02, (1, 0, 0), WHITE)
            toy.ellipsoid((x, 0, 0), (0.06, 0.23 * scale, (height + 0.012) * scale), WHITE)


def rabbit(toy, u, feature):
    """Adds a sitting rabbit; features: floppy ears, a carrot."""
    toy.ellipsoid((-0.05, 0, 0.36), (0.38, 0.32, 0.36))
    head = (0.2, 0, u(0.8, 0.88))
    toy.ellipsoid(head, (0.26, 0.23, 0.23), blend=0.06)
    ear = u(0.5, 0.62)
    for side in BOTH_SIDES:
        if feature == "with floppy ears":
            toy.limb(
                (head[0] - 0.06, side * 0.16, head[2] + 0.17), (head[0] - 0.02, side * 0.38, head[2] - 0.22), 0.07, 0.09
            )
        else:
            tip = (head[0] - 0.14, side * 0.15, head[2] + ear)
            toy.limb((head[0] - 0.06, side * 0.1, head[2] + 0.15), tip, 0.07, 0.075)
            toy.limb((head[0] + 0.02, side * 0.1, head[2] + 0.22), (tip[0] + 0.06, tip[1], tip[2]), 0.035, 0.03, PINK)
        toy.ellipsoid((0.12, side * 0.26, 0.12), (0.28, 0.11, 0.12), blend=0.04)
        toy.limb((0.24, side * 0.1, 0.42), (0.32, side * 0.1, 0.08), 0.08, 0.07, blend=0.04)
    eyes(toy, head[0] + 0.19, 0.13, head[2] + 0.06, 0.05)
    toy.ellipsoid((head[0] + 0.27, 0, head[2] - 0.03), 0.045, PINK)
    toy.ellipsoid((-0.46, 0, 0.3), 0.13, WHITE if toy.main_color.min() < 0.7 else shade(toy, 0.7))
    if feature == "with a carrot":
        toy.cone((0.42, 0, 0.48), (0.56, 0, 0.2), 0.09, 0.01, ORANGE)
        toy.cone((0.42, 0, 0.48), (0.38, 0, 0.6), 0.05, 0.07, (0.15, 0.6, 0.15))


def elephant(toy, u, feature):
    """Adds an elephant; features: a raised trunk, tusks."""
    length = u(0.42, 0.5)
    toy.limb((-length, 0, 0.78), (length, 0, 0.8), 0.36, 0.34)
    four_legs(toy, length - 0.02, -length + 0.02, 0.2, 0.6, 0.15)
    head = (length + 0.4, 0, 1.0)
    toy.ellipsoid(head, (0.3, 0.28, 0.3), blend=0.08)
    ear = u(0.3, 0.36)
    for side in BOTH_SIDES:
        toy.ellipsoid(
            (head[0] - 0.12, side * 0.42, head[2] + 0.02),
            (0.06, ear * 0.8, ear),
            shade(toy, 0.7),
            turn=(0, 0, side * 25),
        )
    if feature == "with a raised trunk":
        toy.limb((head[0] + 0.2, 0, head[2] - 0.1), (head[0] + 0.5, 0, head[2] - 0.1), 0.13, 0.1, blend=0.05)
        toy.limb((head[0] + 0.5, 0, head[2] - 0.1), (head[0] + 0.62, 0, head[2] + 0.45), 0.1, 0.07)
    else:
        toy.limb((head[0] + 0.2, 0, head[2] - 0.08), (head[0] + 0.38, 0, 0.55), 0.13, 0.1, blend=0.05)
        toy.limb((head[0] + 0.38, 0, 0.55), (head[0] + 0.42, 0, 0.16), 0.1, 0.07)
    if feature == "with tusks":
        for side in BOTH_SIDES:
            toy.cone(
                (head[0] + 0.2, side * 0.15, head[2] - 0.18),
                (head[0] + 0.52, side * 0.18, head[2] - 0.36),
                0.055,
                0.01,
                WHITE,
            )
    eyes(toy, head[0] + 0.24, 0.17, head[2] + 0.1, 0.045)
    toy.limb((-length - 0.3, 0, 0.85), (-length - 0.45, 0, 0.45), 0.04, 0.03)


def turtle(toy, u, feature):
    """Adds a turtle; features: brown skin, spots."""
    dome = u(0.38, 0.48)
    toy.ellipsoid((0, 0, 0.24), (0.58, 0.5, dome))
    toy.box((0, 0, -0.18), (0.9, 0.9, 0.32), cut=True)
    toy.cylinder((0, 0, 0.14), (0, 0, 0.24), 0.56, shade(toy, 0.5))
    skin = (0.55, 0.72, 0.3) if feature != "with brown skin" else (0.6, 0.42, 0.22)
    head = (0.82, 0, 0.36)
    toy.limb((0.45, 0, 0.24), head, 0.1, 0.16, skin)
    eyes(toy, head[0] + 0.1, 0.09, head[2] + 0.07, 0.04)
    for x, sweep in ((0.34, 0.12), (-0.34, -0.12)):
        for side in BOTH_SIDES:
            toy.limb((x, side * 0.34, 0.2), (x + sweep, side * 0.52, 0.07), 0.11, 0.1, skin)
    toy.cone((-0.5, 0, 0.18), (-0.8, 0, 0.1), 0.07, 0.01, skin)
    if feature == "with spots":
        for x, y, z in ((0, 0, 1.0), (0.5, 0, 0.8), (-0.5, 0, 0.8), (0, 0.55, 0.78), (0, -0.55, 0.78)):
            toy.ellipsoid((x * 0.58, y * 0.5, 0.24 + z * dome * 0.98), 0.1, shade(toy, 0.4))


def snowman(toy, u, feature):
    """Adds a snowman; features: a scarf, no hat."""
    low, mid, top = u(0.4, 0.46), u(0.29, 0.33), u(0.22, 0.25)
    z_mid, z_top = low * 1.85 + mid * 0.75, low * 1.85 + mid * 2.2 + top * 0.55
    toy.ellipsoid((0, 0, low), low)
    toy.ellipsoid((0, 0, z_mid), mid)
    toy.ellipsoid((0, 0, z_top), top)
    toy.cone((top * 0.8, 0, z_top), (top + 0.3, 0, z_top - 0.02), 0.075, 0.01, ORANGE)
    eyes(toy, top * 0.85, 0.1, z_top + 0.09, 0.045)
    for step in (-0.13, 0.03, 0.19):
        toy.ellipsoid((mid * 0.95, 0, z_mid - 0.02 + step * 0.8), 0.045, BLACK)
    for side in BOTH_SIDES:
        toy.limb((0, side * mid * 0.8, z_mid + 0.05), (0, side * (mid + 0.42), z_mid + 0.28), 0.035, 0.025, WOOD)
    if feature == "with a scarf":
        toy.torus(
            (0, 0, z_top - top * 0.9),
            0.2,
            0.075,
            (0, 0, 1),
            (0.85, 0.12, 0.12) if toy.main_color[1] > 0.3 or toy.main_color[0] < 0.5 else (0.1, 0.35, 0.8),
        )
    elif feature != "without a hat":
        hat(toy, (0, 0, z_top + top * 0.75), 0.25)


def robot(toy, u, feature):
    """Adds a robot; features: an antenna, a backpack."""
    metal, glow = (0.62, 0.65, 0.7), (0.3, 0.95, 0.95)
    width, height = u(0.3, 0.38), u(0.34, 0.4)
    body = 0.42 + height
    toy.box((0, 0, body), (0.24, width, height), round=0.05)
    head = body + height + 0.3
    toy.cylinder((0, 0, body + height), (0, 0, head), 0.08, metal)
    toy.box((0, 0, head), (0.22, 0.28, 0.2), round=0.05)
    for side in BOTH_SIDES:
        toy.ellipsoid((0.22, side * 0.12, head + 0.04), (0.05, 0.075, 0.075), glow)
        toy.limb(
            (0, side * (width + 0.08), body + height - 0.1),
            (0.08, side * (width + 0.13), body - 0.25),
            0.075,
            0.065,
            metal,
        )
        toy.ellipsoid((0.1, side * (width + 0.13), body - 0.32), 0.1)
        toy.cylinder((0, side * 0.16, 0.1), (0, side * 0.16, 0.46), 0.085, metal)
        toy.box((0.06, side * 0.16, 0.07), (0.2, 0.12, 0.07))
    toy.box((0.21, 0, head - 0.1), (0.03, 0.13, 0.025), BLACK)
    toy.box((0.23, 0, body + 0.05), (0.03, width * 0.6, 0.13), DARK)
    toy.ellipsoid((0.26, width * 0.3, body + 0.05), 0.045, (0.95, 0.2, 0.2))
    toy.ellipsoid((0.26, -width * 0.3, body + 0.05), 0.045, (0.98, 0.85, 0.2))
    if feature == "with an antenna":
        toy.cylinder((0, 0, head + 0.2), (0, 0, head + 0.46), 0.025, metal)
        toy.ellipsoid((0, 0, head + 0.5), 0.075, (0.95, 0.2, 0.2))
    if feature == "with a backpack":
        toy.box((-0.36, 0, body + 0.05), (0.13, width * 0.75, height * 0.7), metal, round=0.04)
