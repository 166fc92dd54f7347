#!/usr/bin/env bash
# Builds and tests pagelab: scripts/test.sh [STAGE...]. Without a stage, all of them in this order:
#   release   every test, optimised; CUDA kernels in every layer that this machine has the compilers for
#   mutation  bugs planted in the CUDA device, one at a time: each must be seen by some layer
#   asan      what handles memory on the host, under AddressSanitizer and UndefinedBehaviorSanitizer, invariants checked
#             after each step, and the fuzzers for a bounded time
#   tsan      what runs on several threads, under ThreadSanitizer
#   tidy      clang-tidy over the sources
# Ends with the time that each stage took. Installs missing Debian packages first. Safe to run twice: a second run rebuilds
# nothing.
# Property tests draw their cases from a fixed seed, so that a commit passes or fails alike everywhere; set RC_PARAMS
# (RapidCheck's, e.g. "max_success=5000") to search on. Under CI=true, CUDA kernels are linked for sm_80 alone; the static
# report compiles them for sm_90 too.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$here"

stages=("$@")
if ((${#stages[@]} == 0)); then
  stages=(release mutation asan tsan tidy)
fi

build() { # PRESET [TARGET...]
  local preset=$1
  shift
  local options=() targets=()
  if (($# > 0)); then
    targets=(--target "$@")
  fi
  if [[ $preset == release && ${CI:-} == true ]]; then
    options=(-DPAGELAB_CUDA_ARCHITECTURES=80)
  fi
  cmake --preset "$preset" "${options[@]}" >/dev/null
  cmake --build --preset "$preset" "${targets[@]}"
}

run_tests() { # PRESET [OPTIONS of ctest...]
  ctest --test-dir "build/$1" --output-on-failure -j "$(nproc)" --timeout 600 "${@:2}"
}

run_stage() {
  local seed="seed=20231023"
  case $1 in
    release)
      build release
      RC_PARAMS=${RC_PARAMS:-$seed} run_tests release
      ;;
    asan) # each case costs several times more here, and the draws are those of the release stage
      build asan host_tests
      RC_PARAMS=${RC_PARAMS:-$seed max_success=30} run_tests asan -L '^(host|fuzz)$'
      ;;
    tsan)
      build tsan threaded_tests
      RC_PARAMS=${RC_PARAMS:-$seed max_success=30} run_tests tsan -L '^threaded$'
      ;;
    mutation)
      scripts/mutation_test.py --first
      ;;
    tidy)
      cmake --preset tidy >/dev/null
      scripts/tidy.py
      ;;
    *)
      echo "scripts/test.sh: no stage '$1'; stages: release mutation asan tsan tidy" >&2
      exit 2
      ;;
  esac
}

"$here/scripts/setup.sh"
times=()
for stage in "${stages[@]}"; do
  echo "== $stage"
  start=$SECONDS
  run_stage "$stage"
  times+=("$stage $((SECONDS - start)) s")
  echo "== $stage took $((SECONDS - start)) s"
done
printf -v list '%s, ' "${times[@]}"
echo "== all stages passed: ${list%, }"
