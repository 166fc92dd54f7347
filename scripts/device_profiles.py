"""Published measurements (../shared/profiles, its README names sources and licences) as rows for scripts/fit_device.py.

A row of an operator is a tuple: what was asked of the device, then the seconds it took.
"""

import csv
import lzma
import pathlib

VIDUR_MODELS = ["CodeLlama-34b-Instruct-hf", "Llama-2-70b-hf", "Llama-2-7b-hf", "Meta-Llama-3-70B", "Meta-Llama-3-8B",
                "Qwen-72B", "internlm-20b", "phi-2"]


def table(path: pathlib.Path):
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        yield from csv.DictReader(line for line in lines if not line.startswith("#"))


def aiconfigurator(profiles, gpu, part):
    for row in table(profiles / "aiconfigurator" / f"{gpu}_sxm__{part}"):
        if row.get("kv_cache_dtype", "bfloat16") == "bfloat16":
            yield row, float(row["latency_ms"]) * 1e-3


def gemm(profiles, gpu):
    """(m, n, k, s) of vLLM 0.14 in bf16; products with a side below 256 are left out, no model has them."""
    rows = ((int(row["m"]), int(row["n"]), int(row["k"]), s)
            for row, s in aiconfigurator(profiles, gpu, "vllm_0.14.0__gemm_perf.csv.xz"))
    return [row for row in rows if min(row[1], row[2]) >= 256]


def vidur_mlp(profiles):
    """Each row of Vidur's tables of one layer's operators on an A100-80GB, with the model's sizes as numbers."""
    sizes = ["n_head", "n_kv_head", "n_embd", "n_expanded_embd", "num_tokens", "num_tensor_parallel_workers"]
    for model in VIDUR_MODELS:
        for row in table(profiles / "vidur" / f"a100_{model}_mlp.csv.xz"):
            numbers = {name: int(row[name]) for name in sizes}
            numbers["gated"] = row["use_gated_mlp"] == "True"
            times = {name.split(".")[1]: float(value) * 1e-3
                     for name, value in row.items() if name.endswith(".median") and value}
            yield numbers, times


def gemm_vidur(profiles):
    """(m, n, k, s): the four products of a layer in f16, by tokens and tensor-parallel degree."""
    for size, seconds in vidur_mlp(profiles):
        gpus, hidden, m = size["num_tensor_parallel_workers"], size["n_embd"], size["num_tokens"]
        kv_width = max(size["n_kv_head"], gpus) * hidden // size["n_head"]
        ffn = size["n_expanded_embd"] // gpus
        for name, n, k in [("attn_pre_proj", (hidden + 2 * kv_width) // gpus, hidden),
                           ("attn_post_proj", hidden, hidden // gpus),
                           ("mlp_up_proj", 2 * ffn if size["gated"] else ffn, hidden),
                           ("mlp_down_proj", hidden, ffn)]:
            if seconds.get(name, 0) > 0:
                yield m, n, k, seconds[name]


def elementwise(profiles):
    """(bytes moved, s) by operator: the norms, residual additions and activations of Vidur's models."""
    rows = {"norm": [], "addition": [], "activation": []}
    for size, seconds in vidur_mlp(profiles):
        gpus, hidden, m = size["num_tensor_parallel_workers"], size["n_embd"], size["num_tokens"]
        ffn = size["n_expanded_embd"] // gpus
        for operator, column, numbers in [("norm", "input_layernorm", 2 * hidden), ("addition", "add", 3 * hidden),
                                          ("activation", "mlp_act", 3 * ffn if size["gated"] else 2 * ffn)]:
            if seconds.get(column, 0) > 0:
                rows[operator].append((2 * m * numbers, seconds[column]))
    return rows


def prefill_attention(profiles, gpu):
    """(chunks, tokens, context, heads, kv heads, s), head size 128, whole prompts."""
    rows = ((int(row["batch_size"]), int(row["isl"]), 0, int(row["num_heads"]), int(row["num_key_value_heads"]), s)
            for row, s in aiconfigurator(profiles, gpu, "vllm_0.14.0__context_attention_perf.csv.xz"))
    return [row for row in rows if row[0] <= 64 and row[1] >= 16]


def decode_attention(profiles, gpu):
    """(sequences, context, heads, kv heads, s), head size 128, one to eight query heads per KV head."""
    rows = ((int(row["batch_size"]), int(row["step"]) + 1, int(row["num_heads"]), int(row["num_key_value_heads"]), s)
            for row, s in aiconfigurator(profiles, gpu, "vllm_0.14.0__generation_attention_perf.csv.xz"))
    return [row for row in rows if row[0] <= 512 and 16 <= row[1] <= 16384 and row[2] in (g * row[3] for g in (1, 2, 4, 8))]


def attention_vidur(profiles):
    """Llama-2-70B on two A100 (32 heads, 4 KV heads each) with FlashAttention over blocks of 16 tokens: the rows of
    prefill_attention, among them chunks after a context, and those of decode_attention."""
    prefills, decodes = [], []
    for row in table(profiles / "vidur" / "a100_llama2_70b_tp2_attention_legacy.csv.xz"):
        context = int(row["kv_cache_size"])
        if row["is_prefill"] == "True":
            seconds = float(row["time_stats.attn_prefill.median"]) * 1e-3
            prefills.append((1, int(row["prefill_chunk_size"]), context, 32, 4, seconds))
        else:
            decodes.append((int(row["batch_size"]), context, 32, 4, float(row["time_stats.attn_decode.median"]) * 1e-3))
    return prefills, decodes


def all_reduce(profiles, gpu):
    """(gpus, message bytes, s) of NCCL within a machine, messages to 64 MiB."""
    for row, s in aiconfigurator(profiles, gpu, "nccl_2.27.3__nccl_perf.csv"):
        message = 2 * int(row["message_size"])
        if row["op_name"] == "all_reduce" and message <= 1 << 26:
            yield int(row["num_gpus"]), message, s


def all_reduce_vidur(profiles):
    """The same in one DGX A100, the fastest of the three repetitions in a row."""
    for row in table(profiles / "vidur" / "net_a100_dgx_all_reduce.csv.xz"):
        if row["num_workers"] == row["devices_per_node"]:
            yield int(row["num_workers"]), int(row["size"]), float(row["time_stats.all_reduce.min"]) * 1e-3


def softmax(profiles):
    """(rows, columns, s) of PyTorch's softmax in f16 on an A100; the file gives 1e9 numbers/s."""
    with open(profiles / "llmcompass" / "softmax_A100.csv", encoding="utf-8") as lines:
        for rows, columns, speed in csv.reader(lines):
            yield int(rows), int(columns), int(rows) * int(columns) / (float(speed) * 1e9)


def faster_transformer(profiles, gpus, decode_s, prefill_s):
    """Whole requests of GPT-20B in batches to 32: seconds measured; predicted by decode_s(batch, context) and prefill_s(batch,
    prompt), a prefill and a step per further token; and the number of steps."""
    measured, predicted, steps = [], [], []
    for row in table(profiles / "published_tables" / "fastertransformer_gpt_a100_80gb.csv"):
        batch, prompt, output = (int(row[key]) for key in ("batch", "input_len", "output_len"))
        if (row["model"], row["tp"], row["pp"]) != ("GPT-20B", str(gpus), "1") or row["latency_ms"] == "OOM" or batch > 32:
            continue
        measured.append(float(row["latency_ms"]) * 1e-3)
        predicted.append(prefill_s(batch, prompt) + sum(decode_s(batch, prompt + i) for i in range(1, output)))
        steps.append(output)
    return measured, predicted, steps
