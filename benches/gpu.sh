#!/usr/bin/env bash
# What only a machine with a GPU can show, in one go.
#
#   benches/gpu.sh [--programs DIR] [OUT]
#
# builds the command and the kernels' tests (or takes `paligemma` and `kernels` from DIR, for machines
# without cargo) and writes what each step prints into OUT, by default target/gpu. In this order:
#
# - the kernels against their twins (on Linux that needs Khronos' validation layer, too);
# - `bench` at one position, with kernels chosen by hand;
# - `bench` at all its positions, with others, each with steps replayed and not;
# - the choice of kernels, `bench` with that and its profile, and once more without checks of indices;
# - transformers with the same shape, where python3 has it and a torch that sees the GPU.
#
# `bench` always measures vision and prefill, too. What belongs into RESULTS.md is a step's output with
# its command, which is each file's first line. A step that fails is said, and the others go on. With
# PALIGEMMA_SHAPE another shape is measured, with PALIGEMMA_LIMIT_S each step has another limit of time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
programs=""
if [ "${1:-}" = --programs ]; then
  programs="$(cd "${2:?a folder follows --programs}" && pwd)"
  shift 2
fi
out="${1:-target/gpu}"
shape="${PALIGEMMA_SHAPE:-paligemma2-3b-224}"
limit="${PALIGEMMA_LIMIT_S:-300}"
mkdir -p "$out"
out="$(cd "$out" && pwd)"

if [ -z "$programs" ]; then
  programs="$out/programs"
  mkdir -p "$programs"
  cargo build --locked --release -p paligemma-cli
  cp "${CARGO_TARGET_DIR:-target}/release/paligemma" "$programs/"
  built="$(cargo test --locked --release -p paligemma-gpu --test kernels --no-run 2>&1 | tee /dev/stderr)"
  cp "$(sed -n 's/.*Executable.*(\(.*\))/\1/p' <<<"$built")" "$programs/kernels"
fi

failed=0
step() { # name, command …
  local name="$1" begun="$SECONDS"
  shift
  if { echo "\$ $(basename "$1") ${*:2}"; timeout "$limit" "$@"; } >"$out/$name.txt" 2>&1; then
    echo "$name: $((SECONDS - begun)) s"
  else
    echo "$name: failed, see $out/$name.txt" >&2
    failed=1
  fi
}
bench() { # name, options …
  local name="$1"
  shift
  step "$name" "$programs/paligemma" bench --shape "$shape" --recipe q4 "$@"
}

step twins "$programs/kernels" --test-threads 4
for kernels in "tiled fours=131072 bytes" "tiled fours=131072 norms" "dots fours=131072" "half fours=131072"; do
  bench "$kernels" --kernels "$kernels" --runs 3 --positions 300
done
# What bytes are worth, norms inside products, and replay, apart from each other and from what was recorded before both.
for kernels in "cooperative fours=131072" "cooperative fours=131072 bytes" "cooperative fours=131072 norms" "tiled fours=131072"; do
  for replay in off on; do
    bench "$kernels, replay $replay" --kernels "$kernels" --replay "$replay" --runs 3
  done
done
bench tuned --tune --profile
# With the kernels that the step before has kept.
bench unchecked --unchecked --runs 3 --positions 300
if python3 -c 'import torch, transformers; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null; then
  step transformers python3 tests/peers/torch_shape.py --shape "$shape" --compiled --runs 3
else
  echo "transformers: left out, as python3 does not have it with a torch that sees a GPU"
fi
exit "$failed"
