#!/usr/bin/env python3
"""The least time that the CUDA kernels can take, by arithmetic: bytes over peak bandwidth or FLOP over peak speed.

For one layer of three model shapes in f16. What a GPU measures (tests/bench/bench_cuda_*) is to be held against this.
Prints the table in markdown; --into FILE puts it into the part "bounds" of a markdown file.
"""

import argparse
import dataclasses
import pathlib

import markdown_section

# Peaks that NVIDIA's data sheets state: bytes/s of memory, FLOP/s of dense f16 tensor cores with f32 accumulation.
GPUS = {"A100 40GB": (1.555e12, 312e12), "H100 SXM": (3.35e12, 989e12)}
ELEMENT = 2  # bytes of KV
FLOAT = 4    # bytes of an activation


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    heads: int
    kv_heads: int
    head_size: int


SHAPES = [Shape("OPT-13B", 40, 40, 128), Shape("LLaMA-3-8B", 32, 8, 128), Shape("LLaMA-3-70B", 64, 8, 128)]


def activations(shape, tokens, heads):
    return tokens * heads * shape.head_size * FLOAT


def decode(shape, sequences, context):
    """K and V once per sequence, q in, results out."""
    kv = 2 * sequences * context * shape.kv_heads * shape.head_size * ELEMENT
    return kv + 2 * activations(shape, sequences, shape.heads), 4 * sequences * context * shape.heads * shape.head_size


def prefill(shape, chunk, prefix):
    """Both products over what each row sees; K and V once."""
    seen = chunk * prefix + chunk * (chunk + 1) // 2
    kv = 2 * (prefix + chunk) * shape.kv_heads * shape.head_size * ELEMENT
    return kv + 2 * activations(shape, chunk, shape.heads), 4 * seen * shape.heads * shape.head_size


def write_kv(shape, tokens):
    return activations(shape, tokens, 2 * shape.kv_heads) + 2 * tokens * shape.kv_heads * shape.head_size * ELEMENT, 0


def norm(shape, tokens):
    return 2 * activations(shape, tokens, shape.heads), 0


def cases(shape):
    for sequences, context in [(1, 32768), (32, 512), (32, 2048), (256, 512)]:
        yield "decode_attention", f"{sequences} sequences x {context:,}", decode(shape, sequences, context)
    for chunk, prefix in [(512, 0), (2048, 0), (512, 2048)]:
        yield "prefill_attention", f"chunk {chunk:,}, prefix {prefix:,}", prefill(shape, chunk, prefix)
    yield "write_kv", "2,560 tokens", write_kv(shape, 2560)
    yield "layer_norm, rms_norm", "2,560 tokens", norm(shape, 2560)


def bound(bytes_moved, flop, gpu):
    bandwidth, speed = GPUS[gpu]
    by_memory, by_flop = bytes_moved / bandwidth, flop / speed
    return f"{1e6 * max(by_memory, by_flop):.1f} us ({'memory' if by_memory >= by_flop else 'tensor cores'})"


def table():
    yield "| kernel | shape | work | MB | GFLOP | " + " | ".join(GPUS) + " |"
    yield "|" + "---|" * (5 + len(GPUS))
    for shape in SHAPES:
        for kernel, work, (bytes_moved, flop) in cases(shape):
            bounds = " | ".join(bound(bytes_moved, flop, gpu) for gpu in GPUS)
            yield f"| {kernel} | {shape.name} | {work} | {bytes_moved * 1e-6:.2f} | {flop * 1e-9:.2f} | {bounds} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=pathlib.Path, metavar="FILE", help="put the table into this markdown file")
    arguments = parser.parse_args()
    text = "\n".join(table()) + "\n"
    print(text, end="")
    if arguments.into:
        markdown_section.replace(arguments.into, "bounds", text)


if __name__ == "__main__":
    main()
