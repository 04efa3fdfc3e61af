#!/usr/bin/env bash
# Installs what `cargo xtask compare` compares with and what exports a model for it.
#
#   ./setup.sh
#
# Everything goes into paligemma-web in the cache folder: the oracle's Python environment
# (tests/oracle/setup.sh, 4.6 GB), if it is not there; peers/python (130 MB), which is laid over it;
# peers/node_modules (470 MB).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/paligemma-web"
python="$cache/oracle/venv/bin/python"

if ! "$python" -c "import torch, transformers" 2>/dev/null; then
  "$here/../oracle/setup.sh"
fi
mkdir -p "$cache/peers"
rm -rf "$cache/peers/python"
"$python" -m pip install --quiet --no-cache-dir --no-deps \
  --target "$cache/peers/python" --requirement "$here/requirements.txt"
cp "$here/package.json" "$here/package-lock.json" "$cache/peers/"
# The packages' scripts download what only Node would run.
(cd "$cache/peers" && npm ci --ignore-scripts --no-audit --no-fund)
echo "Next: cargo xtask compare browser"
