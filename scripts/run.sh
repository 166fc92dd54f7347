#!/usr/bin/env bash
# Builds pagelab and runs experiments: scripts/run.sh FILE.toml... [options of `pagelab run`].
# Installs missing Debian packages first. Safe to run twice: a second run builds nothing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

"$here/scripts/setup.sh"
{
  cmake -S "$here" --preset release
  cmake --build "$here/build/release" --target pagelab
} >&2
exec "$here/build/release/pagelab" run "$@"
