"""The cost formulas of a device description (models/cost_model.h) over numpy arrays: one function per operator.

Each takes the operator's table of the description, as a TOML file gives it, and what was asked of the device. Seconds.
"""

import numpy


def curve(x, y, value):
    """y at `value`: linear in log(x) between the points, the ends' values beyond them (Curve::at)."""
    return numpy.interp(numpy.log(value), numpy.log(numpy.asarray(x, float)), y)


def gemm(d, m, n, k, element_bytes=2):
    compute = 2 * m * n * k / (d["peak_flops"] * curve(d["compute_rows"], d["compute_efficiency"], m))
    weights = n * k * element_bytes
    moved = weights + (m * k + m * n) * element_bytes
    traffic = moved / (d["bandwidth"] * curve(d["traffic_bytes"], d["traffic_efficiency"], weights))
    p = d["overlap"]
    return d["launch_s"] + (compute**p + traffic**p) ** (1 / p)


def prefill_attention(d, chunks, tokens, context, heads, kv_heads, head_size=128, element_bytes=2):
    """`chunks` equal chunks of `tokens` tokens, each after `context` tokens whose KV exists."""
    flops = 4 * heads * head_size * (tokens * context + tokens * (tokens + 1) / 2)
    kv_bytes = 2 * (context + tokens) * kv_heads * head_size * element_bytes
    compute = flops / (d["peak_flops"] * curve(d["tokens"], d["efficiency"], tokens))
    chunk = d["sequence_s"] + numpy.maximum(compute, kv_bytes / d["bandwidth"])
    return d["launch_s"] + d["longest_s"] * (context + tokens) + chunks * chunk


def decode_attention(d, sequences, context, heads, kv_heads, head_size=128, element_bytes=2, block_size=16):
    """`sequences` sequences of `context` tokens each."""
    group = heads / kv_heads
    kv_bytes = 2 * sequences * context * kv_heads * head_size * element_bytes
    factor = curve(d["block_sizes"], d["block_factor"], block_size)
    traffic = kv_bytes * factor / (d["bandwidth"] * curve(d["kv_bytes"], d["efficiency"], kv_bytes))
    longest = curve(d["group_sizes"], d["longest_s"], group) * context
    heads_walked = d["head_s"] * sequences * kv_heads
    return curve(d["group_sizes"], d["launch_s"], group) + numpy.maximum(numpy.maximum(longest, heads_walked), traffic)


def elementwise(d, moved):
    return d["launch_s"] + moved / d["bandwidth"]


def sampling(d, rows, vocabulary):
    return d["launch_s"] + rows * d["row_s"] + rows * vocabulary * 4 / d["bandwidth"]


def all_reduce(d, gpus, message_bytes):
    """`gpus` are degrees that the description lists."""
    degree = numpy.searchsorted(d["gpus"], gpus)
    latency, bandwidth = numpy.asarray(d["latency_s"])[degree], numpy.asarray(d["bandwidth"])[degree]
    return latency + message_bytes / (bandwidth * curve(d["message_bytes"], d["efficiency"], message_bytes))


def served_all_reduce(d, gpus, message_bytes):
    """One between the layers of a model."""
    return numpy.asarray(d["served_s"])[numpy.searchsorted(d["gpus"], gpus)] + all_reduce(d, gpus, message_bytes)


def swap(d, copies, moved):
    return copies * d["copy_s"] + moved / d["bandwidth"]
