#!/usr/bin/env bash
# Everything that a day with a GPU is for: scripts/gpu_day.sh [OUT]. Builds with CUDA, runs the tests on the GPU and under
# compute-sanitizer, the benchmarks, and a real run of OPT-13B's shape with random weights; OUT (default: build/gpu_day)
# gets what each of them printed, and summary.txt with a line for each. Under 25 minutes on an H100; a part that fails
# or runs too long is said to and does not stop the others. Needs the CUDA Toolkit, its driver and a GPU of 40 GB or
# more (smaller ones skip the OPT-13B run by its own message).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(realpath -m "${1:-build/gpu_day}")
mkdir -p "$out"
: >"$out/summary.txt"

failed=0
# part NAME SECONDS COMMAND...: runs it with a time limit, output to OUT/NAME.txt, a line to the summary.
part() {
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  echo "== $name"
  timeout "$limit" "$@" >"$out/$name.txt" 2>&1 || status=$?
  local word=ok
  case $status in
    0) ;;
    124) word="ran longer than $limit s" ;;
    *) word="failed with status $status" ;;
  esac
  if ((status != 0)); then
    failed=1
    tail -n 20 "$out/$name.txt"
  fi
  printf '%-28s %-24s %5d s\n' "$name" "$word" $((SECONDS - start)) | tee -a "$out/summary.txt"
}

scripts/setup.sh
if ! nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.max.memory --format=csv >"$out/device.txt" 2>&1; then
  echo "scripts/gpu_day.sh: no GPU answers (nvidia-smi):" >&2
  cat "$out/device.txt" >&2
  exit 1
fi
cat "$out/device.txt"

part configure 120 cmake --preset cuda
part build 600 cmake --build --preset cuda
build=build/cuda
part tests 300 ctest --test-dir "$build" -L gpu --output-on-failure
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    for test in decode_attention_test prefill_attention_test kv_blocks_test; do
      RC_PARAMS="max_success=3" part "$tool.$test" 60 \
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/tests/cuda/gpu_$test"
    done
  done
fi
for bench in attention prefill swap; do
  part "bench_$bench" 180 "$build/tests/bench/bench_cuda_$bench" --benchmark_out="$out/bench_$bench.json" \
    --benchmark_out_format=json
done
for kind in cpu cuda; do # the same tokens on both, from a real checkpoint
  part "generate_$kind" 60 "$build/pagelab" generate tests/golden/llama --ids 1,2,3 --device "$kind"
done
part opt_13b 300 "$build/pagelab" run experiments/opt13b_cuda.toml --out "$out/opt_13b"

cat "$out/summary.txt"
exit $failed
