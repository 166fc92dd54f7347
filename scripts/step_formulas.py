"""The time of a whole step from a device description, as CostModel::forward adds it up, over numpy arrays. Seconds.
"""

import typing

import device_formulas as formulas


class Shape(typing.NamedTuple):
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    kv_heads: int = 0     # 0: as many as heads
    ffn: int = 0          # 0: 4 x hidden
    llama: bool = False   # gated feed-forward and rotary embedding


# f16.
SHAPES = {"opt-13b": Shape(40, 5120, 40, 50272), "GPT-20B": Shape(44, 6144, 48, 51200),
          "llama2-70b": Shape(80, 8192, 64, 32000, kv_heads=8, ffn=28672, llama=True),
          "bloom-176b": Shape(70, 14336, 112, 250880)}


def forward(d, model, gpus, tokens, rows, attention):
    """A forward pass over `tokens` tokens with so many rows to sample, given one layer's attention."""
    shape = Shape(*SHAPES[model])
    layers, hidden, vocabulary = shape.layers, shape.hidden, shape.vocabulary
    q_width = hidden / gpus
    kv_width = kv_heads(shape, gpus) * hidden / shape.heads
    ffn = (shape.ffn or 4 * hidden) / gpus
    up = (2 if shape.llama else 1) * ffn
    products = [(q_width + 2 * kv_width, hidden), (hidden, q_width), (up, hidden), (hidden, ffn)]
    linear = sum(formulas.gemm(d["gemm"], tokens, n, k) for n, k in products)
    # Two norms, two residuals, the activation, the write of K and V, the rotary embedding.
    moved = 2 * tokens * (2 * 2 * hidden + 2 * 3 * hidden + (3 if shape.llama else 2) * ffn + 4 * kv_width +
                          (2 * (q_width + kv_width) if shape.llama else 0))
    simple = (7 if shape.llama else 6) * d["elementwise"]["launch_s"] + moved / d["elementwise"]["bandwidth"]
    # Beside the layers two for the embedding; with rotary embedding there is one, and positions are not added.
    embedding = (formulas.elementwise(d["elementwise"], 4 * tokens * hidden) if shape.llama else
                 2 * formulas.elementwise(d["elementwise"], 5 * tokens * hidden))
    total = layers * (linear + simple + attention) + embedding
    if gpus > 1:
        total += 2 * layers * formulas.served_all_reduce(d["all_reduce"], gpus, 2 * tokens * hidden)
        total += formulas.served_all_reduce(d["all_reduce"], gpus, 2 * rows * vocabulary)
    return (total + formulas.elementwise(d["elementwise"], 4 * rows * hidden) +
            formulas.gemm(d["gemm"], rows, vocabulary / gpus, hidden) + formulas.sampling(d["sampling"], rows, vocabulary))


def kv_heads(shape, gpus):
    """Of one device."""
    return max(1, (shape.kv_heads or shape.heads) // gpus)


def decode_s(d, model, gpus, sequences, context):
    shape = Shape(*SHAPES[model])
    attention = formulas.decode_attention(d["decode_attention"], sequences, context, shape.heads // gpus, kv_heads(shape, gpus))
    return forward(d, model, gpus, sequences, sequences, attention)


def prefill_s(d, model, gpus, prompts, tokens):
    shape = Shape(*SHAPES[model])
    attention = formulas.prefill_attention(d["prefill_attention"], prompts, tokens, 0, shape.heads // gpus, kv_heads(shape, gpus))
    return forward(d, model, gpus, prompts * tokens, prompts, attention)
