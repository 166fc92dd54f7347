#!/usr/bin/env python3
"""Makes tests/golden: tiny random checkpoints and what Hugging Face transformers computes from them.

Needs torch, transformers and safetensors from PyPI (made with torch 2.15, transformers 5.23, safetensors 0.8):

    python3 -m venv ENV && ENV/bin/pip install torch transformers safetensors
    ENV/bin/python scripts/make_golden.py [--out tests/golden]

Per model: NAME/ (config.json and safetensors) and NAME.json with
  prompt    token ids
  logits    of every prompt position: at some token ids; of the last position: at all; max_abs, the largest of all;
            bf16_error, the largest distance of the logits that transformers computes in bf16
  greedy    64 new tokens and the log-probability of each, eos not in play
  beam      beam searches of width 4 over 24 new tokens, without and with an eos: sequences and scores

Everything is computed in f32 from the values as stored, so a checkpoint stored in bf16 or f16 is exact too. The
weights are drawn wider than the models initialise theirs, so that logits are not flat; a seed is taken only if no
decision along the way is close enough for rounding to turn it (the gaps are printed).
"""

import argparse
import copy
import json
import pathlib
import shutil

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

VOCAB = 192
PROMPT = 21
GREEDY = 64
BEAM_WIDTH = 4
BEAM_TOKENS = 24
SMALLEST_GAP = 2e-3  # between the chosen and the best rejected, in units of log-probability

COMMON = dict(vocab_size=VOCAB, bos_token_id=None, eos_token_id=None, pad_token_id=None)
OPT = dict(hidden_size=128, num_hidden_layers=2, num_attention_heads=2, ffn_dim=128, max_position_embeddings=96,
           init_std=0.15, dropout=0.0, **COMMON)
LLAMA = dict(hidden_size=128, num_hidden_layers=2, intermediate_size=96, max_position_embeddings=128,
             initializer_range=0.15, rms_norm_eps=1e-5, **COMMON)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)
GPT2 = dict(n_embd=128, n_layer=2, n_head=2, n_inner=128, n_positions=96, initializer_range=0.15, resid_pdrop=0.0,
            embd_pdrop=0.0, attn_pdrop=0.0, **COMMON)

# name: (model class, config, dtype stored, shard size)
MODELS = {
    "opt": (OPTForCausalLM, OPTConfig(word_embed_proj_dim=128, **OPT), torch.float16, "1GB"),
    "opt-post-norm": (OPTForCausalLM, OPTConfig(word_embed_proj_dim=64, do_layer_norm_before=False, **OPT),
                      torch.float16, "1GB"),
    "gpt2": (GPT2LMHeadModel, GPT2Config(**GPT2), torch.float16, "1GB"),
    "llama": (LlamaForCausalLM, LlamaConfig(num_attention_heads=2, **LLAMA), torch.float32, "400KB"),
    "llama-gqa": (LlamaForCausalLM,
                  LlamaConfig(num_attention_heads=4, num_key_value_heads=2, head_dim=64, tie_word_embeddings=True,
                              rope_parameters=LLAMA3_ROPE, **LLAMA), torch.bfloat16, "1GB"),
}


class TooClose(Exception):
    """A decision that rounding could turn, or a continuation too dull to show anything."""


def make_model(model_class, config, dtype, seed):
    """The model in f32, its parameters rounded to what `dtype` holds."""
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:  # biases and norms start at 0 and 1: make them count
                parameter.add_(torch.randn_like(parameter) * 0.1)
            parameter.copy_(parameter.to(dtype).to(torch.float32))
    return model


def greedy(model, prompt):
    tokens, logprobs, ids = [], [], list(prompt)
    for _ in range(GREEDY):
        last = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), dim=-1)
        (first, second), (token, _) = (part.tolist() for part in torch.topk(last, 2))
        if first - second < SMALLEST_GAP:
            raise TooClose(f"greedy gap {first - second:.1e}")
        tokens.append(token)
        logprobs.append(round(first, 6))
        ids.append(token)
    if len(set(tokens)) < 12:
        raise TooClose(f"only {len(set(tokens))} distinct greedy tokens")
    return {"tokens": tokens, "logprobs": logprobs}


def beam(model, prompt, eos):
    """Also watches every top-k of the search, so that no decision is closer than rounding."""
    gaps = []
    topk = torch.topk

    def watched(values, k, **arguments):
        if values.shape[-1] > k:
            best = [x for x in topk(values, k + 1)[0].flatten().tolist() if x > -1e8]  # below: not in play
            gaps.extend(a - b for a, b in zip(best, best[1:]))
        return topk(values, k, **arguments)

    torch.topk = watched
    try:
        out = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                             do_sample=False, num_beams=BEAM_WIDTH, num_return_sequences=BEAM_WIDTH,
                             max_new_tokens=BEAM_TOKENS, length_penalty=1.0, early_stopping=False,
                             eos_token_id=eos, pad_token_id=0, return_dict_in_generate=True, output_scores=True)
    finally:
        torch.topk = topk
    close = min(gaps)
    if close < SMALLEST_GAP / 20:
        raise TooClose(f"beam gap {close:.1e}")
    sequences = []
    for tokens, score, indices in zip(out.sequences.tolist(), out.sequences_scores.tolist(), out.beam_indices.tolist()):
        length = sum(index >= 0 for index in indices)
        sequences.append({"tokens": tokens[len(prompt):len(prompt) + length], "score": round(score, 6)})
    return {"width": BEAM_WIDTH, "max_new_tokens": BEAM_TOKENS, "eos": eos, "length_penalty": 1.0,
            "smallest_gap": close, "sequences": sequences}


def beams_with_eos(model, prompt, free):
    """An eos for which the results have different lengths, and one for which the search ends early if there is one."""
    seen = sorted({token for sequence in free["sequences"] for token in sequence["tokens"]})
    mixed, early = None, None
    for eos in seen:
        try:
            result = beam(model, prompt, eos)
        except TooClose:
            continue
        lengths = {len(sequence["tokens"]) for sequence in result["sequences"]}
        if mixed is None and len(lengths) > 1 and max(lengths) == BEAM_TOKENS:
            mixed = result
        if early is None and len(lengths) > 1 and max(lengths) < BEAM_TOKENS:
            early = result
    return [result for result in (mixed, early) if result is not None]


def golden(model, seed):
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randint(0, VOCAB, (PROMPT,), generator=generator).tolist()
    logits = model(torch.tensor([prompt])).logits[0].float()
    in_bf16 = copy.deepcopy(model).to(torch.bfloat16)(torch.tensor([prompt])).logits[0].float()
    sampled = list(range(0, VOCAB, 12))
    free = beam(model, prompt, None)
    with_eos = beams_with_eos(model, prompt, free)
    if not with_eos:
        raise TooClose("no usable eos")
    return {
        "prompt": prompt,
        "logits": {
            "max_abs": logits.abs().max().item(),
            "bf16_error": (in_bf16 - logits).abs().max().item(),
            "ids": sampled,
            "values": [[round(x, 6) for x in row[sampled].tolist()] for row in logits],
            "last": [round(x, 6) for x in logits[-1].tolist()],
        },
        "greedy": greedy(model, prompt),
        "beam": [free, *with_eos],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "tests" / "golden")
    parser.add_argument("--model", choices=sorted(MODELS), action="append", help="only this one (repeatable)")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    for name in arguments.model or MODELS:
        model_class, config, dtype, shard_size = MODELS[name]
        for seed in range(1, 200):
            model = make_model(model_class, config, dtype, seed)
            try:
                with torch.no_grad():
                    result = golden(model, seed)
                break
            except TooClose as reason:
                print(f"{name}: seed {seed} passed over: {reason}", flush=True)
        else:
            raise SystemExit(f"{name}: no seed will do")
        folder = arguments.out / name
        shutil.rmtree(folder, ignore_errors=True)
        model.to(dtype).save_pretrained(folder, max_shard_size=shard_size)
        (folder / "generation_config.json").unlink(missing_ok=True)
        (arguments.out / f"{name}.json").write_text(json.dumps(result) + "\n")
        spread = result["logits"]["max_abs"]
        distinct = len(set(result["greedy"]["tokens"]))
        lengths = [[len(s["tokens"]) for s in b["sequences"]] for b in result["beam"]]
        print(f"{name}: seed {seed}, max |logit| {spread:.2f}, {distinct} distinct greedy tokens, beam lengths {lengths}",
              flush=True)


if __name__ == "__main__":
    main()
