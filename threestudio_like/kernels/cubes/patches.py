"""The patches in which a surface cuts one cube, each a loop of crossed edges, for every set of corners inside."""

import functools
import itertools

CORNERS = tuple(itertools.product((0, 1), repeat=3))
EDGES = tuple(
    (a, b)
    for axis in range(3)
    for a, b in itertools.combinations(range(8), 2)
    if [CORNERS[a][i] != CORNERS[b][i] for i in range(3)] == [i == axis for i in range(3)]
)
"""Ends as numbers of CORNERS, the lower end first; four along x, four along y, four along z."""


def _face(axis: int, side: int) -> tuple[int, ...]:
    """A face's corners in order around it."""
    u, v = (axis + 1) % 3, (axis + 2) % 3
    corners = []
    for along_u, along_v in ((0, 0), (1, 0), (1, 1), (0, 1)):
        place = [0, 0, 0]
        place[axis], place[u], place[v] = side, along_u, along_v
        corners.append(CORNERS.index(tuple(place)))
    return tuple(corners)


FACES = tuple(_face(axis, side) for axis in range(3) for side in (0, 1))


@functools.cache
def turn_around() -> tuple[int, ...]:
    """Returns each local edge's position, 0 to 3, of its cube among the four around the edge, for a right-handed quad.

    The four are counted counter-clockwise as seen from the edge's upper end.
    """
    places = []
    for a, b in EDGES:
        axis = next(i for i in range(3) if CORNERS[a][i] != CORNERS[b][i])
        # a cube that has the edge on its lower sides lies on the upper sides of the edge
        u, v = (1 - CORNERS[a][(axis + i) % 3] for i in (1, 2))
        places.append(((0, 0), (1, 0), (1, 1), (0, 1)).index((u, v)))
    return tuple(places)


@functools.cache
def patches(case: int, other: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Returns the patch of each edge (-1 if not crossed), and for each face whether all its cuts belong to one patch.

    `case` has a bit for each corner inside, `other` one for each face with alternating corners that is cut around its
    outside corners.
    """
    inside = [bool(case >> i & 1) for i in range(8)]
    edge_of = {pair: i for i, pair in enumerate(EDGES)}

    def number(a, b):
        return edge_of[min(a, b), max(a, b)]

    partners: dict[int, list[int]] = {i: [] for i, (a, b) in enumerate(EDGES) if inside[a] != inside[b]}
    cuts = []
    for f, face in enumerate(FACES):
        ring = [number(face[i], face[(i + 1) % 4]) for i in range(4)]
        crossed = [i for i in range(4) if ring[i] in partners]
        joined = []
        if len(crossed) == 2:
            joined = [(ring[crossed[0]], ring[crossed[1]])]
        elif len(crossed) == 4:
            cut_around_inside = not other >> f & 1
            joined = [(ring[i - 1], ring[i]) for i in range(4) if inside[face[i]] == cut_around_inside]
        for one, two in joined:
            partners[one].append(two)
            partners[two].append(one)
        cuts.append(joined)
    patch, count = {}, 0
    for start in partners:
        if start in patch:
            continue
        waiting = [start]
        while waiting:
            edge = waiting.pop()
            if edge not in patch:
                patch[edge] = count
                waiting += partners[edge]
        count += 1
    together = tuple(len({patch[one] for one, _ in joined}) == 1 and len(joined) > 1 for joined in cuts)
    return tuple(patch.get(i, -1) for i in range(12)), together
