"""Toybox categories without a face: furniture, vehicles, a house, kitchenware, plants. Front is +x, up is +z."""

from threestudio_like.data.toybox.animals import BLACK, BOTH_SIDES, DARK, WHITE, WOOD, shade

GLASS, STEEL, LIGHT, TAIL = (0.62, 0.8, 0.9), (0.6, 0.62, 0.66), (0.98, 0.92, 0.6), (0.8, 0.06, 0.08)
CREAM, LEAF = (0.93, 0.88, 0.76), (0.2, 0.55, 0.2)


def wheels(toy, xs, y, radius, width=0.08):
    """Adds a pair of wheels at each of the positions `xs` along the toy."""
    for x in xs:
        for side in BOTH_SIDES:
            toy.cylinder((x, side * (y - width), radius), (x, side * (y + width), radius), radius, BLACK)
            toy.cylinder(
                (x, side * (y + width - 0.02), radius), (x, side * (y + width + 0.015), radius), radius * 0.5, STEEL
            )


def four_posts(toy, x, y, top, radius, color=None):
    """Adds four posts from the ground to `top`."""
    for sx in BOTH_SIDES:
        for sy in BOTH_SIDES:
            toy.cylinder((sx * x, sy * y, 0), (sx * x, sy * y, top), radius, color)


def chair(toy, u, feature):
    """Adds a chair; features: a tall or slatted back, armrests."""
    width, depth, seat = u(0.36, 0.44), u(0.36, 0.42), u(0.5, 0.58)
    back = u(0.8, 0.9) if feature == "with a tall back" else u(0.48, 0.6)
    toy.box((0, 0, seat), (depth, width, 0.055))
    four_posts(toy, depth - 0.06, width - 0.06, seat, 0.055)
    if feature == "with a slatted back":
        for y in (-0.8, 0, 0.8):
            toy.box((-depth + 0.04, y * width, seat + back / 2), (0.04, 0.06, back / 2))
        toy.box((-depth + 0.04, 0, seat + back), (0.045, width, 0.08))
    else:
        toy.box((-depth + 0.04, 0, seat + back / 2), (0.045, width, back / 2))
    if feature == "with armrests":
        for side in BOTH_SIDES:
            toy.box((0, side * (width - 0.03), seat + 0.3), (depth, 0.05, 0.035))
            toy.cylinder(
                (depth - 0.06, side * (width - 0.03), seat), (depth - 0.06, side * (width - 0.03), seat + 0.3), 0.04
            )


def sofa(toy, u, feature):
    """Adds a sofa; features: cushions."""
    width, height = u(0.75, 0.95), u(0.42, 0.52)
    toy.box((0.02, 0, 0.24), (0.42, width, 0.15), round=0.05)
    toy.box((-0.36, 0, 0.42 + height / 2), (0.13, width, height / 2 + 0.16), round=0.07)
    for side in BOTH_SIDES:
        toy.box((0.02, side * (width + 0.08), 0.36), (0.42, 0.12, 0.26), round=0.07)
        toy.box((0.08, side * width * 0.48, 0.44), (0.36, width * 0.46, 0.08), shade(toy, 1.35), round=0.05)
        if feature == "with cushions":
            toy.box(
                (-0.14, side * width * 0.6, 0.68),
                (0.07, 0.2, 0.2),
                WHITE if toy.main_color.min() < 0.7 else shade(toy, 0.5),
                turn=(20, -12, 0),
                round=0.05,
            )
    four_posts(toy, 0.3, width - 0.05, 0.15, 0.045, WOOD)


def table(toy, u, feature):
    """Adds a table; features: a round top, a shelf."""
    x, y, top = u(0.45, 0.6), u(0.7, 0.85), u(0.62, 0.75)
    if feature == "with a round top":
        toy.cylinder((0, 0, top), (0, 0, top + 0.09), 0.66)
        toy.cylinder((0, 0, 0), (0, 0, top), 0.09)
        toy.cone((0, 0, 0), (0, 0, 0.12), 0.36, 0.14)
    else:
        toy.box((0, 0, top), (x, y, 0.055))
        four_posts(toy, x - 0.08, y - 0.08, top, 0.065)
        if feature == "with a shelf":
            toy.box((0, 0, top * 0.4), (x - 0.06, y - 0.06, 0.035))


def bed(toy, u, feature):
    """Adds a bed; features: a high headboard, a canopy."""
    length, width = u(0.85, 0.95), u(0.46, 0.58)
    toy.box((0, 0, 0.26), (length, width, 0.09), WOOD)
    toy.box((0.04, 0, 0.42), (length - 0.06, width - 0.03, 0.12), round=0.06)
    toy.box((-length * 0.62, 0, 0.57), (0.17, width * 0.7, 0.07), WHITE, round=0.06)
    toy.box((-length, 0, 0.55), (0.05, width, 0.42 if feature == "with a high headboard" else 0.28), WOOD)
    if feature == "with a canopy":
        four_posts(toy, length - 0.03, width - 0.03, 1.25, 0.04, WOOD)
        toy.box((0, 0, 1.27), (length, width, 0.04))
    else:
        four_posts(toy, length - 0.05, width - 0.05, 0.25, 0.06, WOOD)


def lamp(toy, u, feature):
    """Adds a lamp; features: a round shade."""
    height, radius = u(0.7, 0.9), u(0.36, 0.44)
    toy.cylinder((0, 0, 0), (0, 0, 0.07), 0.3, DARK)
    toy.cylinder((0, 0, 0), (0, 0, height), 0.04, STEEL)
    if feature == "with a round shade":
        toy.ellipsoid((0, 0, height + 0.15), (radius, radius, radius * 0.8))
    else:
        toy.cone((0, 0, height - 0.1), (0, 0, height + 0.42), radius, radius * 0.55)
        toy.cone((0, 0, height - 0.2), (0, 0, height + 0.3), radius * 0.95, radius * 0.5, LIGHT, cut=True)
        toy.ellipsoid((0, 0, height + 0.05), 0.1, LIGHT)


def car(toy, u, feature):
    """Adds a car; features: a roof rack, a spoiler."""
    length, cabin = u(0.82, 0.95), u(0.22, 0.28)
    toy.box((0, 0, 0.36), (length, 0.4, 0.17), round=0.08)
    toy.box((-0.12, 0, 0.62), (0.46, 0.35, cabin), round=0.1)
    toy.box((0.31, 0, 0.66), (0.05, 0.29, cabin * 0.6), GLASS, turn=(0, -18, 0))
    toy.box((-0.56, 0, 0.66), (0.04, 0.28, cabin * 0.5), DARK)
    for side in BOTH_SIDES:
        toy.box((-0.12, side * 0.335, 0.67), (0.36, 0.03, cabin * 0.5), GLASS)
        toy.ellipsoid((length - 0.03, side * 0.25, 0.4), (0.06, 0.1, 0.08), LIGHT)
        toy.box((-length + 0.02, side * 0.28, 0.42), (0.05, 0.09, 0.05), TAIL)
    toy.box((length, 0, 0.28), (0.04, 0.16, 0.05), DARK)
    wheels(toy, (length * 0.6, -length * 0.6), 0.34, 0.2)
    if feature == "with a roof rack":
        for side in BOTH_SIDES:
            toy.box((-0.12, side * 0.2, 0.66 + cabin), (0.4, 0.03, 0.05), DARK)
        toy.box((-0.12, 0, 0.72 + cabin), (0.3, 0.24, 0.06), WOOD)
    if feature == "with a spoiler":
        toy.box((-length + 0.08, 0, 0.74), (0.1, 0.38, 0.025), DARK)
        toy.box((-length + 0.08, 0, 0.62), (0.03, 0.05, 0.12), DARK)


def truck(toy, u, feature):
    """Adds a truck; features: an open bed, a tank."""
    length = u(0.55, 0.7)
    toy.box((length - 0.1, 0, 0.58), (0.28, 0.36, 0.38), round=0.06)
    toy.box((length + 0.17, 0, 0.72), (0.03, 0.29, 0.14), GLASS)
    toy.box((length + 0.18, 0, 0.3), (0.06, 0.34, 0.07), DARK)
    for side in BOTH_SIDES:
        toy.box((length - 0.02, side * 0.35, 0.72), (0.13, 0.025, 0.13), GLASS)
        toy.ellipsoid((length + 0.19, side * 0.24, 0.46), 0.07, LIGHT)
    toy.box((-0.2, 0, 0.26), (length + 0.2, 0.3, 0.06), DARK)
    middle = (-length - 0.4 + length - 0.42) / 2
    if feature == "with an open bed":
        for side in BOTH_SIDES:
            toy.box((middle, side * 0.37, 0.5), (length - 0.04, 0.03, 0.16), CREAM)
        toy.box((middle - length + 0.04, 0, 0.5), (0.03, 0.38, 0.16), CREAM)
        toy.box((middle, 0, 0.36), (length - 0.04, 0.38, 0.04), CREAM)
    elif feature == "with a tank":
        toy.limb((middle - length + 0.35, 0, 0.7), (middle + length - 0.35, 0, 0.7), 0.36, 0.36, STEEL)
    else:
        toy.box((middle, 0, 0.82), (length - 0.04, 0.4, 0.48), CREAM, round=0.04)
    wheels(toy, (length - 0.1, -0.2, -length - 0.05), 0.34, 0.2)


def train(toy, u, feature):
    """Adds a steam engine; features: a bell."""
    length = u(0.5, 0.6)
    toy.cylinder((-0.3, 0, 0.62), (length + 0.1, 0, 0.62), 0.3)
    toy.cylinder((length + 0.1, 0, 0.62), (length + 0.17, 0, 0.62), 0.25, DARK)
    toy.ellipsoid((length + 0.18, 0, 0.62), (0.06, 0.09, 0.09), LIGHT)
    toy.box((-0.52, 0, 0.72), (0.3, 0.38, 0.48), round=0.04)
    toy.box((-0.52, 0, 1.23), (0.38, 0.46, 0.05), DARK)
    for side in BOTH_SIDES:
        toy.box((-0.52, side * 0.37, 0.9), (0.17, 0.03, 0.15), GLASS)
    toy.cone((length - 0.12, 0, 0.85), (length - 0.12, 0, 1.2), 0.08, 0.14, DARK)
    if feature == "with a bell":
        toy.ellipsoid((0.1, 0, 0.97), 0.12, (0.95, 0.78, 0.2))
    toy.box((-0.1, 0, 0.28), (length + 0.2, 0.32, 0.07), DARK)
    toy.cone((length + 0.1, 0, 0.2), (length + 0.4, 0, 0.08), 0.3, 0.08, TAIL)
    wheels(toy, (length - 0.15, 0.03, -0.52), 0.32, 0.19)


def aeroplane(toy, u, feature):
    """Adds an aeroplane; features: high wings, two wings a side, jet engines."""
    length, span = u(0.8, 0.92), u(0.8, 0.98)
    toy.limb((-length, 0, 0.06), (length - 0.2, 0, 0), 0.09, 0.18)
    toy.ellipsoid((length - 0.3, 0, 0.14), (0.2, 0.11, 0.12), GLASS)
    drop = 0.1 if feature == "with high wings" else -0.06
    toy.box((0.12, 0, drop), (0.2, span, 0.035))
    if feature == "with two wings a side":
        toy.box((0.12, 0, 0.42), (0.18, span, 0.03))
        for side in BOTH_SIDES:
            toy.cylinder((0.12, side * span * 0.6, 0), (0.12, side * span * 0.6, 0.42), 0.03, STEEL)
    toy.box((-length + 0.06, 0, 0.08), (0.12, 0.36, 0.03), shade(toy, 0.6))
    toy.box((-length + 0.02, 0, 0.28), (0.13, 0.03, 0.22), shade(toy, 0.6), turn=(0, -20, 0))
    if feature == "with jet engines":
        for side in BOTH_SIDES:
            toy.cylinder((-0.05, side * 0.45, -0.17), (0.36, side * 0.45, -0.17), 0.1, STEEL)
    else:
        toy.cone((length - 0.06, 0, 0), (length + 0.12, 0, 0), 0.11, 0.03, DARK)
        toy.box((length + 0.07, 0, 0), (0.025, 0.04, 0.36), DARK, turn=(35, 0, 0))


def boat(toy, u, feature):
    """Adds a boat; features: a sail, a tall funnel."""
    length = u(0.7, 0.85)
    toy.ellipsoid((0, 0, 0.35), (length, 0.34, 0.38))
    toy.cone((length * 0.5, 0, 0.24), (length + 0.2, 0, 0.42), 0.22, 0.02, blend=0.1)
    toy.box((0, 0, 0.75), (length + 0.5, 0.6, 0.33), cut=True)
    toy.box((-length * 0.8, 0, 0.34), (0.12, 0.24, 0.08))
    if feature == "with a sail":
        toy.cylinder((0.1, 0, 0.3), (0.1, 0, 1.5), 0.03, WOOD)
        for step in range(5):
            toy.box((0.02 - 0.062 * (4 - step), 0, 0.58 + step * 0.18), (0.06 + 0.062 * (4 - step), 0.02, 0.095), WHITE)
    else:
        toy.box((-0.2, 0, 0.56), (0.28, 0.2, 0.17), WHITE, round=0.04)
        toy.box((0.07, 0, 0.6), (0.02, 0.16, 0.08), GLASS)
        toy.cylinder((-0.3, 0, 0.7), (-0.3, 0, 1.0 if feature == "with a tall funnel" else 0.86), 0.09, TAIL)


def house(toy, u, feature):
    """Adds a house; features: a chimney, a porch."""
    x, y, wall = u(0.5, 0.6), u(0.55, 0.7), u(0.3, 0.38)
    toy.box((0, 0, wall), (x, y, wall), round=0.01)
    top = 2 * wall
    for side in BOTH_SIDES:
        toy.box((0, side * y * 0.5, top + 0.2), (x + 0.08, y * 0.72, 0.05), (0.62, 0.22, 0.16), turn=(-side * 33, 0, 0))
    for width, height in ((0.6, 0.08), (0.33, 0.2), (0.12, 0.28)):
        toy.box((0, 0, top), (x - 0.02, y * width, height))
    toy.box((x, 0, wall * 0.62), (0.03, 0.13, wall * 0.62), WOOD)
    for side in BOTH_SIDES:
        toy.box((x, side * y * 0.6, wall * 1.15), (0.03, 0.12, 0.13), GLASS)
        toy.box((-x * 0.1, side * y, wall * 1.1), (0.16, 0.03, 0.13), GLASS)
    if feature == "with a chimney":
        toy.box((-x * 0.45, y * 0.45, top + 0.42), (0.1, 0.1, 0.3), (0.5, 0.2, 0.16))
    if feature == "with a porch":
        toy.box((x + 0.2, 0, wall * 1.42), (0.24, 0.34, 0.035), (0.62, 0.22, 0.16))
        for side in BOTH_SIDES:
            toy.cylinder((x + 0.38, side * 0.28, 0), (x + 0.38, side * 0.28, wall * 1.4), 0.04, WHITE)


def mug(toy, u, feature):
    """Adds a mug; features: a low cup, coffee."""
    radius, height = u(0.36, 0.44), u(0.8, 0.95) if feature != "with a low cup" else u(0.5, 0.6)
    toy.cone((0, 0, 0), (0, 0, height), radius * 0.92, radius)
    toy.cylinder((0, 0, 0.08), (0, 0, height + 0.1), radius * 0.83, shade(toy, 0.7), cut=True)
    toy.torus((0, -radius - 0.08, height * 0.52), height * 0.27, 0.055, (1, 0, 0))
    toy.cylinder((0, 0, 0.1), (0, 0, 0.14), radius * 0.84, shade(toy, 0.7))
    if feature == "full of coffee":
        toy.cylinder((0, 0, 0.1), (0, 0, height * 0.86), radius * 0.85, (0.25, 0.13, 0.06))


def teapot(toy, u, feature):
    """Adds a teapot; features: a tall body."""
    radius = u(0.44, 0.5)
    height = radius * (1.0 if feature == "with a tall body" else 0.78)
    toy.ellipsoid((0, 0, height), (radius, radius, height))
    toy.cylinder((0, 0, 0), (0, 0, 0.08), radius * 0.55)
    toy.limb((radius * 0.75, 0, height * 0.8), (radius + 0.38, 0, height * 1.75), 0.13, 0.055, blend=0.05)
    toy.torus((-radius - 0.12, 0, height * 1.05), 0.25, 0.055, (0, 1, 0))
    toy.ellipsoid((0, 0, height * 1.86), (radius * 0.52, radius * 0.52, 0.12), shade(toy, 0.6))
    toy.ellipsoid((0, 0, height * 1.86 + 0.15), 0.085, (0.95, 0.78, 0.2))


def mushroom(toy, u, feature):
    """Adds a mushroom; features: a tall cap, no spots."""
    radius, stem = u(0.5, 0.65), u(0.4, 0.6)
    cap = radius * (1.1 if feature == "with a tall cap" else 0.7)
    toy.cone((0, 0, 0), (0, 0, stem + 0.1), 0.22, 0.16, CREAM)
    toy.ellipsoid((0, 0, stem), (radius, radius, cap))
    toy.box((0, 0, stem - 0.5), (1, 1, 0.46), cut=True)
    toy.cone((0, 0, 0), (0, 0, stem + 0.1), 0.22, 0.16, CREAM)
    if feature != "without spots":
        spot = WHITE if toy.main_color.min() < 0.7 else (0.85, 0.15, 0.12)
        for x, y in ((0, 0), (0.62, 0.1), (-0.15, 0.65), (-0.62, -0.12), (0.12, -0.64)):
            z = (1 - x * x - y * y) ** 0.5
            toy.ellipsoid((x * radius, y * radius, stem + z * cap), 0.13, spot)


def tree(toy, u, feature):
    """Adds a tree; features: a round crown, a star."""
    trunk = u(0.3, 0.42)
    toy.cylinder((0, 0, 0), (0, 0, trunk + 0.2), 0.1, WOOD)
    if feature == "with a round crown":
        toy.ellipsoid((0, 0, trunk + 0.5), (0.5, 0.5, 0.48))
        for x, y in ((0.3, 0.1), (-0.18, 0.28), (-0.1, -0.32)):
            toy.ellipsoid((x, y, trunk + 0.6), 0.3, blend=0.05)
    else:
        for step, radius in enumerate((0.52, 0.42, 0.3)):
            toy.cone((0, 0, trunk + step * 0.32), (0, 0, trunk + step * 0.32 + 0.5), radius, 0.06 if step < 2 else 0.01)
    if feature == "with a star":
        toy.ellipsoid((0, 0, trunk + 1.2), 0.13, (0.98, 0.85, 0.2))


def rocket(toy, u, feature):
    """Adds a rocket; features: windows, boosters."""
    radius, height = u(0.24, 0.3), u(0.85, 1.0)
    toy.cylinder((0, 0, 0.26), (0, 0, height), radius)
    toy.ellipsoid(
        (0, 0, height),
        (radius, radius, radius * 1.7),
        TAIL if toy.main_color[0] < 0.7 or toy.main_color[1] > 0.4 else WHITE,
    )
    toy.cone((0, 0, 0.1), (0, 0, 0.28), radius * 0.8, radius * 0.6, DARK)
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        toy.box(
            (x * (radius + 0.12), y * (radius + 0.12), 0.26), (0.16 if x else 0.03, 0.16 if y else 0.03, 0.24), STEEL
        )
        if feature == "with windows":
            toy.ellipsoid((x * radius, y * radius, height * 0.75), 0.11, GLASS)
    if feature == "with boosters":
        for x, y in ((0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8)):
            toy.limb(
                (x * radius * 1.2, y * radius * 1.2, 0.2), (x * radius * 1.2, y * radius * 1.2, 0.6), 0.1, 0.1, WHITE
            )
