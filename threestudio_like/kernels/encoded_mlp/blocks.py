"""The encoded MLP in numba, block by block of points, whose features and activations stay in a core's cache.

A block's arrays are [rows, BLOCK]. Forward and the gradients by the MLP are parallel over blocks, the gradient by the
table over levels. What all points add to is summed by chunks of blocks first, and then chunk by chunk: so results are
the same bit for bit on any number of threads.
"""

import numba
import numpy as np

from threestudio_like.kernels.encoded_mlp.encoding import BLOCK, PLACE, ZERO, clamp, encode, inline, spread

CHUNK = 16
"""Blocks whose part of the gradients is summed apart."""

summing = numba.njit(forceinline=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
parallel = numba.njit(cache=True, parallel=True)


@parallel
def evaluate(x, table, levels, weights, outputs, gradient, threads):
    """Fills the outputs and, where it has rows, the first one's gradient by the point.

    `weights` are the hidden layer, its bias and transpose, the head and its bias.
    """
    blocks = (len(x) + BLOCK - 1) // BLOCK
    for thread in numba.prange(threads):
        for block in range(blocks * thread // threads, blocks * (thread + 1) // threads):
            evaluate_block(x, block * BLOCK, table, levels, weights, outputs, gradient)


@parallel
def differentiate_mlp(x, table, levels, weights, to_outputs, to_gradient, results, sums, to_x, threads):
    """Fills the gradients by the features, and where wanted by the points, and each chunk's by the MLP's weights.

    `weights` are the hidden layer, its bias and transpose, the head and its transpose; `results` the blocks' places,
    gradients by features and by slopes; `sums` those by the hidden layer, its bias, the head and its bias, and the sum
    over points of each active unit's features along `to_gradient`, which adds to the hidden layer's and the head's.
    """
    blocks = (len(x) + BLOCK - 1) // BLOCK
    chunks = (blocks + CHUNK - 1) // CHUNK
    for thread in numba.prange(threads):
        for chunk in range(chunks * thread // threads, chunks * (thread + 1) // threads):
            for block in range(chunk * CHUNK, min((chunk + 1) * CHUNK, blocks)):
                differentiate_block(
                    x, block, chunk, table, levels, weights, to_outputs, to_gradient, results, sums, to_x
                )


@parallel
def spread_levels(levels, places, to_features, to_slopes, gradient, threads):
    """Adds all blocks' gradient to the table's; each thread takes some of the levels."""
    for thread in numba.prange(threads):
        for level in range(thread, len(levels), threads):  # interleaved: the finer levels cost more
            for block in range(len(places)):
                first, last = 2 * level * BLOCK, 2 * (level + 1) * BLOCK
                slopes = to_slopes[min(block, len(to_slopes) - 1)][first:last]
                spread(places[block], levels, level, to_features[block][first:last], slopes, gradient)


@inline
def evaluate_block(x, first, table, levels, weights, outputs, gradient):
    """Evaluates the points from `first` on, as many as a block holds."""
    hidden, hidden_bias, hidden_transposed, head, head_bias = weights
    width, with_gradient = hidden.shape[1], len(gradient) > 0
    count = min(BLOCK, len(x) - first)
    place = np.empty(PLACE * BLOCK, np.float32)
    features = np.empty((width, BLOCK), np.float32)
    slopes = np.empty((3 * width if with_gradient else 0, BLOCK), np.float32)
    before = np.empty((len(hidden), BLOCK), np.float32)
    result = np.empty((len(head), BLOCK), np.float32)
    clamp(x, first, place)
    encode(place, table, levels, features.reshape(-1), slopes.reshape(-1))
    layer(hidden, hidden_bias, features, before)
    if with_gradient:
        through = features  # which are not needed any more
        activity = np.empty_like(before)
        activate(before, head[0], activity)  # what the first output gains from each hidden unit
        layer(hidden_transposed, np.zeros(width, np.float32), activity, through)
        contract(through, slopes, gradient, first, count)
    rectify(before)
    layer(head, head_bias, before, result)
    for row in range(len(head)):
        for p in range(count):
            outputs[first + p, row] = result[row, p]


@inline
def differentiate_block(x, block, chunk, table, levels, weights, to_outputs, to_gradient, results, sums, to_x):
    """Computes a block's features anew and the gradients by them, and adds its part to those by the weights."""
    hidden, hidden_bias, hidden_transposed, head, head_transposed = weights
    to_hidden, to_hidden_bias, to_head, to_head_bias, to_active = sums
    width, units, with_gradient, with_x = hidden.shape[1], len(hidden), len(to_gradient) > 0, len(to_x) > 0
    first = block * BLOCK
    count = min(BLOCK, len(x) - first)
    place, to_features = results[0][block], results[1][block].reshape(width, BLOCK)
    nothing = np.zeros(max(units, width), np.float32)
    features = np.empty((width, BLOCK), np.float32)
    slopes = np.empty((3 * width if with_gradient or with_x else 0, BLOCK), np.float32)
    before = np.empty((units, BLOCK), np.float32)
    clamp(x, first, place)
    encode(place, table, levels, features.reshape(-1), slopes.reshape(-1))
    layer(hidden, hidden_bias, features, before)

    to_result = np.zeros((len(head), BLOCK), np.float32)
    to_before = np.empty((units, BLOCK), np.float32)
    for row in range(len(head)):
        for p in range(count):
            to_result[row, p] = to_outputs[first + p, row]
    layer(head_transposed, nothing, to_result, to_before)
    for row in range(units):
        for p in range(BLOCK):
            to_before[row, p] = to_before[row, p] if before[row, p] > ZERO else ZERO
    layer(hidden_transposed, nothing, to_before, to_features)
    add_products(to_before, features, to_hidden[chunk])
    add_rows(to_before, to_hidden_bias[chunk])
    if with_x:
        contract(to_features, slopes, to_x, first, count)
    if with_gradient:
        direction = np.zeros((3, BLOCK), np.float32)
        for axis in range(3):
            for p in range(count):
                direction[axis, p] = to_gradient[first + p, axis]
            for p in range(BLOCK):
                place[(6 + axis) * BLOCK + p] = direction[axis, p]
        along, activity = features, to_before  # neither is needed any more
        for row in range(width):
            for p in range(BLOCK):
                along[row, p] = (
                    slopes[3 * row, p] * direction[0, p]
                    + slopes[3 * row + 1, p] * direction[1, p]
                    + slopes[3 * row + 2, p] * direction[2, p]
                )
        activate(before, head[0], activity)
        layer(hidden_transposed, nothing, activity, results[2][block].reshape(width, BLOCK))
        activate(before, np.ones(units, np.float32), activity)
        add_products(activity, along, to_active[chunk])
    rectify(before)
    add_products(to_result, before, to_head[chunk])
    add_rows(to_result, to_head_bias[chunk])


@inline
def layer(weight, bias, inputs, outputs):
    """Computes weight inputs + bias."""
    columns = weight.shape[1]
    for row in range(len(weight)):
        start = bias[row]
        for p in range(BLOCK):
            outputs[row, p] = start
        for column in range(0, columns - 3, 4):
            a, b, c, d = weight[row, column], weight[row, column + 1], weight[row, column + 2], weight[row, column + 3]
            for p in range(BLOCK):
                outputs[row, p] += (a * inputs[column, p] + b * inputs[column + 1, p]) + (
                    c * inputs[column + 2, p] + d * inputs[column + 3, p]
                )
        for column in range(columns // 4 * 4, columns):
            a = weight[row, column]
            for p in range(BLOCK):
                outputs[row, p] += a * inputs[column, p]


@inline
def rectify(values):
    """Replaces what is negative by zero."""
    for row in range(len(values)):
        for p in range(BLOCK):
            values[row, p] = max(values[row, p], ZERO)


@inline
def activate(before, weights, activity):
    """Fills in each hidden unit's weight where the unit is active, zero elsewhere."""
    for row in range(len(before)):
        weight = weights[row]
        for p in range(BLOCK):
            activity[row, p] = weight if before[row, p] > ZERO else ZERO


@inline
def contract(to_features, slopes, to_x, first, count):
    """Fills the gradients by a block's points from those by the features."""
    total = np.empty(BLOCK, np.float32)
    for axis in range(3):
        total[:] = ZERO
        for row in range(len(to_features)):
            for p in range(BLOCK):
                total[p] += to_features[row, p] * slopes[3 * row + axis, p]
        for p in range(count):
            to_x[first + p, axis] = total[p]


@summing
def add_products(left, right, sums):
    """Adds the sum over points of left[i] right[j] to sums[i, j]."""
    columns = len(right)
    for row in range(len(left)):
        for column in range(0, columns - 3, 4):
            a = b = c = d = ZERO
            for p in range(BLOCK):
                value = left[row, p]
                a += value * right[column, p]
                b += value * right[column + 1, p]
                c += value * right[column + 2, p]
                d += value * right[column + 3, p]
            sums[row, column] += a
            sums[row, column + 1] += b
            sums[row, column + 2] += c
            sums[row, column + 3] += d
        for column in range(columns // 4 * 4, columns):
            a = ZERO
            for p in range(BLOCK):
                a += left[row, p] * right[column, p]
            sums[row, column] += a


@summing
def add_rows(values, sums):
    """Adds the sum over points of values[i] to sums[i]."""
    for row in range(len(values)):
        total = ZERO
        for p in range(BLOCK):
            total += values[row, p]
        sums[row] += total
