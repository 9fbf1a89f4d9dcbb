#!/usr/bin/env bash
# Everything that a machine with a GPU can say: builds kernels, checkkern and gpu_bench from a C compiler and the CUDA
# toolkit alone (no library, no network), then checks and measures on the card.
#
#   tools/gpu_suite.sh [--part 1|2] [--out FILE]
#
# Part 1: build, every kernel against its reference on the card and in the emulator, the card's tensor cores against the
# emulator's arithmetic, roofs and products. Part 2: the same kernels under compute-sanitizer, roofs, attention, rows.
# Without a part: both. FILE gets the tables of gpu_bench. Where there is no GPU the emulator stands in, and figures of
# speed mean nothing. Ends with the number of steps that failed.
set -uo pipefail
cd "$(dirname "$0")/.."

part= out=
while [ $# -gt 0 ]; do
    case "$1 ${2-}" in
    "--part 1" | "--part 2") part=$2 ;;
    "--out "?*) out=$2 ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
    shift 2
done

build=build/gpu
failed=0
step() { # NAME COMMAND…: its seconds and whether it passed; what it printed stays in build/gpu/NAME.log
    local name=$1 from=$SECONDS
    shift
    if "$@" >"$build/$name.log" 2>&1; then
        echo "$name: passed, $((SECONDS - from)) s; $(tail -1 "$build/$name.log")"
    else
        echo "$name: FAILED ($?), $((SECONDS - from)) s"
        tail -25 "$build/$name.log"
        failed=$((failed + 1))
    fi
}

PATH=$PATH:/usr/local/cuda/bin
mkdir -p "$build"
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
step configure cmake -S . -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DTANDEM_CUDA=ON \
    -DTANDEM_KERNELS_ONLY=ON
step build cmake --build "$build" -j "$(nproc)"
[ "$failed" = 0 ] || exit 1

level=cuda bench=$build/tools/gpu_bench/gpu_bench check=$build/tests/checkkern/checkkern
if ! nvidia-smi -L 2>/dev/null; then
    echo "no GPU here: the emulator stands in"
    level=emu bench=$build/tools/gpu_bench/gpu_bench_emu
fi
bench_part() {
    "$bench" --part "$1" ${out:+--out "$out"} || failed=$((failed + 1))
}

if [ "$part" != 2 ]; then
    step checkkern "$check" --level "$level"
    step gpu_same timeout 240 "$build/tools/gpu_bench/gpu_same"
    bench_part 1
fi
if [ "$part" != 1 ]; then
    if [ "$level" = cuda ] && command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck synccheck; do
            for test in norm.BF16 kv_store.bfloat16 attention.bfloat16 dev_matmul.BF16; do
                step "$tool-$test" timeout 120 compute-sanitizer --tool "$tool" --error-exitcode 9 "$check" \
                    --level cuda --test "$test"
            done
        done
    fi
    bench_part 2
fi
echo "$failed steps failed"
[ "$failed" = 0 ]
