#!/usr/bin/env bash
# Installs what pagelab needs from Debian's packages (Debian 12), if anything is missing. Safe to run twice.
set -euo pipefail

packages=(
  g++ cmake ninja-build ccache git ca-certificates python3
  libcli11-dev libtomlplusplus-dev libspdlog-dev libfmt-dev libhwy-dev libdnnl-dev nlohmann-json3-dev liblzma-dev
  libboost-dev libboost-context-dev
  python3-matplotlib
  libgtest-dev libgmock-dev librapidcheck-dev libbenchmark-dev
  clang clang-tidy libclang-rt-14-dev xz-utils
)

missing=()
for package in "${packages[@]}"; do
  if [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]]; then
    missing+=("$package")
  fi
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

echo "setup: installing ${missing[*]}" >&2
as_root=()
if ((EUID != 0)); then
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
