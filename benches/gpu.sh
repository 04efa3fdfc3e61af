#!/usr/bin/env bash
# What only a machine with a GPU can show, in one go.
#
#   benches/gpu.sh [OUT]                    builds what it takes (cargo), and measures
#   benches/gpu.sh --build DIR              builds it into DIR: some 60 MB, of which nothing is left out
#   benches/gpu.sh --programs DIR [OUT]     measures with what was built into DIR, on a machine without cargo
#
# Everything that is printed, each command before its output, goes into OUT/all.txt (OUT is target/gpu unless
# it is named); the figures of each step also come to standard output. In this order, as time may run out:
#
# - the adapter, on the demo model: without one, or with one that computes on the CPU, nothing is measured;
# - the choice of kernels, `bench` with that at all positions and its profile;
# - transformers with the same shape, where python3 has it and a torch that sees the GPU;
# - `bench` with kernels chosen by hand, some with steps replayed and not, and without checks of indices;
# - what rounding in cooperative matrices costs in answers;
# - the kernels against their twins, and the engine against transformers' fixtures.
#
# What belongs into RESULTS.md is a step's output with its command. A step that fails is said, and the others
# go on. From the environment: PALIGEMMA_SHAPE, another shape; PALIGEMMA_LIMIT_S, a step's limit (300);
# PALIGEMMA_TOTAL_S, after which no step is begun or goes on (540); PALIGEMMA_SOFTWARE=1, to try this script
# itself on an adapter that computes on the CPU.
set -euo pipefail

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
absolute() { mkdir -p "$1" && (cd "$1" && pwd); }

programs=""
build=""
case "${1:-}" in
  --build) build="$(absolute "${2:?a folder follows --build}")"; shift 2 ;;
  --programs)
    programs="${2:?a folder follows --programs}"
    [ -x "$programs/paligemma" ] || { echo "$programs has no program paligemma: make it with --build" >&2; exit 2; }
    programs="$(cd "$programs" && pwd)"; shift 2 ;;
  -*) usage ;;
esac
[ $# -le 1 ] || usage
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
out="${1:-$root/target/gpu}"
[ -n "$build" ] || out="$(absolute "$out")"
cd "$root"

make_programs() { # into a folder
  local test built
  cargo build --locked --release -p paligemma-cli
  cargo build --locked --release -p paligemma-tests --example fidelity
  cp "${CARGO_TARGET_DIR:-target}/release/paligemma" "${CARGO_TARGET_DIR:-target}/release/examples/fidelity" "$1/"
  for test in "kernels paligemma-gpu" "transformers paligemma-tests"; do
    built="$(cargo test --locked --release -p "${test#* }" --test "${test% *}" --no-run 2>&1 | tee /dev/stderr)"
    cp "$(sed -n 's/.*Executable.*(\(.*\))/\1/p' <<<"$built")" "$1/${test% *}"
  done
  strip "$1/paligemma" "$1/fidelity" "$1/kernels" "$1/transformers" || true
}
if [ -n "$build" ]; then
  make_programs "$build"
  echo "Next, on the machine with the GPU: benches/gpu.sh --programs $build"
  exit
fi
if [ -z "$programs" ]; then
  programs="$(absolute "$out/programs")"
  make_programs "$programs"
fi

shape="${PALIGEMMA_SHAPE:-paligemma2-3b-224}"
limit="${PALIGEMMA_LIMIT_S:-300}"
total="${PALIGEMMA_TOTAL_S:-540}"
log="$out/all.txt"
: >"$log"
one="$(mktemp)"
answers="$(mktemp -d)"
trap 'rm -rf "$one" "$answers"' EXIT
# Built elsewhere they would look for the fixtures there.
export CARGO_MANIFEST_DIR="$root/tests"

# Of measuring alone.
SECONDS=0
failed=0
step() { # title, command …
  local title="$1" begun="$SECONDS" left=$((total - SECONDS)) rc=0
  shift
  if [ "$left" -le 5 ]; then
    echo "-- $title: left out, $total s are over" | tee -a "$log"
    : >"$one"
    return
  fi
  timeout "$((left < limit ? left : limit))" "$@" >"$one" 2>&1 || rc=$?
  { echo "-- $title"; printf '$'; printf ' %q' "$(basename "$1")" "${@:2}"; echo; cat "$one"; echo; } >>"$log"
  if [ "$rc" = 0 ]; then
    echo "-- $title: $((SECONDS - begun)) s"
  else
    echo "-- $title: FAILED ($rc, 124 is its limit of time) after $((SECONDS - begun)) s" | tee -a "$log"
    tail -n 3 "$one"
    failed=1
  fi
}
bench() { # title, options …
  local title="$1"
  shift
  step "$title" "$programs/paligemma" bench --shape "$shape" --recipe q4 "$@"
  # Of a kernel that the adapter lacks another takes the place, so what was in force is said.
  grep -E '^(kernels|vision|prefill|first token|decode at|  encode|  a token)' "$one" || true
}

step adapter "$programs/paligemma" bench --model web/demo/model --runs 1 --tokens 1 --positions 300 --no-tuning --json
if [ "$failed" = 1 ]; then
  echo "No adapter: is there a Vulkan loader (libvulkan.so.1), and does VK_DRIVER_FILES name the GPU's driver?" >&2
  exit 1
fi
if grep -q '"is_software": true' "$one" && [ "${PALIGEMMA_SOFTWARE:-}" != 1 ]; then
  echo "The adapter computes on the CPU: name the GPU's driver in VK_DRIVER_FILES." >&2
  exit 1
fi
grep -m 1 '"name"' "$one"

bench tuned --tune --profile
chosen="$(sed -n 's/^kernels  *\([^(]*\) (.*/\1/p' "$one" | head -n 1)"
if reason="$(python3 -c 'import torch, transformers; raise SystemExit(not torch.cuda.is_available())' 2>&1)"; then
  step transformers python3 tests/peers/torch_shape.py --shape "$shape" --compiled --runs 3
  tail -n 12 "$one"
else
  echo "-- transformers: left out, no transformers with a torch that sees a GPU ${reason##*$'\n'}" | tee -a "$log"
fi
# What bytes are worth, norms inside products, and replay, apart from each other and from what was recorded before.
for kernels in "cooperative fours=131072" "cooperative fours=131072 bytes" "cooperative fours=131072 norms"; do
  for replay in off on; do
    bench "$kernels, replay $replay" --kernels "$kernels" --replay "$replay" --runs 3 --positions 300
  done
done
if [ -n "$chosen" ]; then
  bench "$chosen, unchecked" --kernels "$chosen" --unchecked --runs 3 --positions 300
else
  echo "-- unchecked: left out, as no kernels were chosen" | tee -a "$log"
fi
for kernels in "tiled fours=131072" "tiled fours=131072 bytes" "tiled fours=131072 norms" "dots fours=131072" "half fours=131072"; do
  bench "$kernels" --kernels "$kernels" --runs 3 --positions 300
done
if [ -x "$programs/fidelity" ]; then
  # Answers that an earlier run has kept here may be of other kernels.
  step "fidelity of cooperative matrices" "$programs/fidelity" --only cooperative --scenes 60 --kept "$answers"
  grep '^|' "$one" || true
fi
if [ -x "$programs/kernels" ]; then
  layer="VkLayer_khronos_validation.json"
  skip=()
  if [ ! -e "/usr/share/vulkan/explicit_layer.d/$layer" ] && [ ! -e "/etc/vulkan/explicit_layer.d/$layer" ]; then
    echo "-- twins: without the test of what waits for what, as Khronos' validation layer is not here" | tee -a "$log"
    skip=(--skip replayed_commands_wait_as_vulkan_demands)
  fi
  step twins "$programs/kernels" --test-threads 4 "${skip[@]}"
  tail -n 3 "$one"
fi
if [ -x "$programs/transformers" ]; then
  step fixtures "$programs/transformers" --test-threads 4
  tail -n 3 "$one"
fi
exit "$failed"
