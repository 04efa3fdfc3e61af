#!/usr/bin/env bash
# Creates the Python environment that regenerates tests/fixtures.
#
#   ./setup.sh [FOLDER]
#
# FOLDER gets venv/ (4.6 GB, nearly all of it torch) and pillow13/; by default it is
# paligemma-web/oracle in the cache folder. PYTHON chooses the interpreter (3.11 made the
# fixtures).
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
folder="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/paligemma-web/oracle}"

mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
"${PYTHON:-python3}" -m venv "$folder/venv"
python="$folder/venv/bin/python"
install=("$python" -m pip install --quiet --no-cache-dir --no-deps)

"${install[@]}" --requirement "$here/requirements.txt"
# The pictures are also resized by the Pillow after the one that made everything else:
# 13 changed the order of the two passes.
rm -rf "$folder/pillow13"
"${install[@]}" --target "$folder/pillow13" pillow==13.0.0

"$python" -c '
import torch, transformers
print("torch", torch.__version__, "transformers", transformers.__version__)
'
echo "Next: $python $here/regenerate.py --check"
