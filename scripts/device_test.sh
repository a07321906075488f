#!/usr/bin/env bash
# What only an NVIDIA device can show, in one run of a few minutes: operations and whole models against references,
# recorded steps against plain ones, the same tokens run after run, memory errors and races, and speed against the
# device's own limits as one table.
# usage: scripts/device_test.sh [--build FOLDER] [--out FOLDER] [--quick] [--only CHECK,...]
#   --build  a folder that has llm and tests/test_cuda_device already; otherwise build-device is made for the device's
#            architecture
#   --out    where JSON and logs go (default: FOLDER/device_test)
#   --quick  the 1B shape only
#   --only   some of: ops graphs overlap ahead repeat memcheck racecheck synccheck linear attention bench
# Status: 0 when every check that ran has passed. A check that can't run says so and why.
set -u
cd "$(dirname "$0")/.."
build='' out='' quick=0 only=all
while [ $# -gt 0 ]; do
  case $1 in
    --build) build=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --quick) quick=1; shift ;;
    --only) only=$2; shift 2 ;;
    *) echo "device_test: expected --build, --out, --quick or --only, found \"$1\"" >&2; exit 2 ;;
  esac
done
failed=0 skipped=0 passed=0
wanted() { [ "$only" = all ] || [[ ",$only," == *",$1,"* ]]; }
pass() { passed=$((passed + 1)); echo "passed   $1"; }
fail() { failed=$((failed + 1)); echo "FAILED   $1: $2"; }
skip() { skipped=$((skipped + 1)); echo "not run  $1: $2"; }

known=(ops graphs overlap ahead repeat memcheck racecheck synccheck linear attention bench)
for check in ${only//,/ }; do
  [ "$check" = all ] || [[ " ${known[*]} " == *" $check "* ]] || { echo "device_test: expected one of ${known[*]}, found \"$check\"" >&2; exit 2; }
done
skip_all() {
  for check in "${known[@]}"; do wanted "$check" && skip "$check" "$1"; done
  echo "$passed passed, $failed failed, $skipped not run"
  exit 0
}

if ! nvidia-smi -L >/dev/null 2>&1; then skip_all "no NVIDIA device or driver on this machine"; fi
nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader
if [ -z "$build" ]; then
  command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || skip_all "no nvcc to build for the device"
  build=build-device
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CUDA_ARCHITECTURES=native >/dev/null &&
    cmake --build "$build" --target llm test_cuda_device cuda_linear_bench cuda_attention_bench write_tiny_model || { echo "device_test: the build failed" >&2; exit 1; }
fi
llm=$build/llm tests=$build/tests/test_cuda_device
out=${out:-$build/device_test}
mkdir -p "$out"
reason=$("$llm" devices | sed -n 's/^cuda:0.*not usable, //p')
if [ -n "$reason" ]; then skip_all "$reason"; fi

# What a wrong barrier does to hardware is hang: nothing runs without a limit.
limited() { timeout "$limit" "$@"; }
limit=900

# Answers of models whose kernels are those of real ones; nothing counts as an answer that is short.
for type in q4_0 q4_K; do
  "$build/tests/write_tiny_model" "$out/$type.gguf" llama $type || { echo "device_test: no model to test with" >&2; exit 1; }
done
answers() {
  local type text
  for type in q4_0 q4_K; do
    text=$(limited "$llm" -m "$out/$type.gguf" --raw --device cuda -q -p "Once upon a time" -n 200 --ignore-eos --seed "$1" --draft off) || return 1
    [ ${#text} -gt 100 ] || return 1
    printf '%s\n' "$text"
  done
}
# same NAME WORDS COMMAND...: whether the command gives the answers that are given without it
same() {
  local name=$1 words=$2 expected found
  shift 2
  expected=$(answers 7) && found=$("$@" answers 7) || { fail "$name" "no answer"; return; }
  if [ "$found" = "$expected" ]; then pass "$name"; else fail "$name" "$words"; fi
}
without() { local setting=$1; shift; (export "${setting?}"; "$@"); }

if wanted ops; then
  if limited "$tests" >"$out/ops.log" 2>&1 && ! grep -q 'no CUDA device' "$out/ops.log"; then
    pass "ops: $(grep -E '^[0-9]+ passed' "$out/ops.log")"
  else
    fail ops "see $out/ops.log"
    grep -E 'TEST CASE|ERROR|no CUDA device' "$out/ops.log" | head -n 20
  fi
fi
if wanted graphs; then same graphs "recorded steps give other tokens" without LLM_CUDA_GRAPHS=off; fi
if wanted overlap; then same overlap "kernels that begin early give other tokens" without LLM_CUDA_OVERLAP=off; fi
if wanted ahead; then same ahead "steps that run ahead give other tokens" without LLM_CUDA_AHEAD=off; fi
if wanted repeat; then
  for round in 1 2 3; do same "repeat $round" "the same seed gave other tokens" without LLM_ROUND=$round; done
fi
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
limit=1800
for tool in memcheck racecheck synccheck; do
  wanted $tool || continue
  if [ -z "$sanitizer" ]; then skip $tool "no compute-sanitizer"; continue; fi
  if limited "$sanitizer" --tool $tool --error-exitcode 9 "$tests" -tce='*every format*,*every family*' >"$out/$tool.log" 2>&1; then
    pass "$tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY' "$out/$tool.log" | tail -n 1)"
  else
    fail $tool "see $out/$tool.log"
    grep -m 5 '=========' "$out/$tool.log"
  fi
done
limit=600

# One line a test: tokens a second, and as a fraction of what the device's limits allow.
bench() {
  local shape=$1 type=$2
  shift 2
  local options="$*"
  local json=$out/bench-$shape-$type${options// /}.json
  if limited "$llm" bench --shape "$shape" --type "$type" --device cuda -r 3 --json "$@" >"$json" 2>"$json.err"; then
    python3 - "$json" <<'PYTHON' || { fail "bench $shape $type" "see $json"; return; }
import json, sys
run = json.load(open(sys.argv[1]))
for r in run["results"]:
    speed = r["tokens_per_second"]["median"]
    share = r["fraction_of_limit"]
    print(f'{run["model"]:14} {run["type"]:8} {r["test"]:14} {speed:10.1f} t/s {100 * share if share else 0:6.1f} %')
PYTHON
  else
    fail "bench $shape $type" "$(head -n 1 "$json.err")"
    return
  fi
  pass "bench $shape $type"
}
# Linear layers by themselves, with the matrix products of compute capability 9.0 and without.
if wanted linear; then
  if [ ! -x "$build/tests/cuda_linear_bench" ]; then
    skip linear "no $build/tests/cuda_linear_bench"
  elif limited "$build/tests/cuda_linear_bench" off >"$out/linear-mma.txt" &&
      limited "$build/tests/cuda_linear_bench" >"$out/linear.txt"; then
    cat "$out/linear-mma.txt" "$out/linear.txt"
    pass linear
  else
    fail linear "see $out/linear.txt and $out/linear-mma.txt"
  fi
fi
if wanted attention; then
  if [ ! -x "$build/tests/cuda_attention_bench" ]; then
    skip attention "no $build/tests/cuda_attention_bench"
  elif limited "$build/tests/cuda_attention_bench" >"$out/attention.txt"; then
    cat "$out/attention.txt"
    pass attention
  else
    fail attention "see $out/attention.txt"
  fi
fi
if wanted bench; then
  "$llm" devices
  shapes=(llama3.2-1b)
  [ $quick = 1 ] || shapes+=(llama3-8b qwen3-8b)
  for shape in "${shapes[@]}"; do
    for type in q4_0 q4_K_M i4g128 q8_0 f16; do
      bench "$shape" $type -p 512,2048 -n 64 -b 1,2,4,8,16
    done
    bench "$shape" q4_0 -p 0 -n 32 -d 4096,32768
  done
fi
echo "$passed passed, $failed failed, $skipped not run"
[ $failed -eq 0 ]
