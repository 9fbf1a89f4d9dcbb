#!/usr/bin/env bash
# Measures tandem against llama.cpp on this machine, alternating, and prints the table of docs/SPEED.md.
#
#   tools/bench_peer.sh PEER_BIN MODEL.gguf…      PEER_BIN: the folder with llama-bench and llama-batched-bench
#
# ROUNDS (3) rounds of each row, both programs in turn; the best of each counts, since a shared machine only ever
# takes away. THREADS (all), ISA (auto; avx2 wants a peer built for AVX2). Not part of the tests.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
TANDEM=${TANDEM:-build/release/tandem}
[ -x "$TANDEM" ] || { echo "no $TANDEM: build the release preset first" >&2; exit 1; }
exec python3 - "$TANDEM" "${ROUNDS:-3}" "${THREADS:-$(nproc)}" "${ISA:-auto}" "$@" <<'PY'
import json, os, resource, subprocess, sys, time

tandem, rounds, threads, isa, peer, *models = sys.argv[1:]
rounds = int(rounds)

def run(argv):
    """Output, wall seconds and peak resident MiB of one process."""
    began = time.monotonic()
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(argv)}: exit {status}")
    return out, time.monotonic() - began, usage.ru_maxrss / 1024

def ours(model, p, n, b):
    out, _, _ = run([tandem, "bench", "latency", model, "-p", str(p), "-n", str(n), "-b", str(b), "-r", "1",
                     "-o", "json", "--threads", threads, "--cpu-isa", isa])
    return json.loads(out)[0]["avg_ts"]

def theirs(model, p, n):
    out, _, _ = run([f"{peer}/llama-bench", "-m", model, "-p", str(p), "-n", str(n), "-r", "1", "-t", threads,
                     "-o", "json"])
    return json.loads(out)[0]["avg_ts"]

def theirs_batched(model, n, b):
    out, _, _ = run([f"{peer}/llama-batched-bench", "-m", model, "-c", str(b * (n + 32)), "-npp", "16", "-ntg", str(n),
                     "-npl", str(b), "-t", threads, "--output-format", "jsonl"])
    row = [json.loads(line) for line in out.splitlines() if line.startswith("{")][-1]
    return row["speed_tg"]

def our_start(model):
    _, wall, rss = run([tandem, "complete", model, "-p", "Hello", "--max-tokens", "1", "--threads", threads,
                        "--kv-cache-memory", "64MiB", "--cpu-isa", isa])
    return wall, rss

def their_start(model):
    _, wall, rss = run([f"{peer}/llama-bench", "-m", model, "-p", "1", "-n", "0", "-r", "1", "-t", threads,
                        "--no-warmup"])
    return wall, rss

def best(pairs, pick):
    return pick(a for a, _ in pairs), pick(b for _, b in pairs)

for model in models:
    name = os.path.basename(model)
    size = os.path.getsize(model) / 2**20
    print(f"\n**{name}** ({size:.0f} MiB), {threads} threads, instruction set {isa}, best of {rounds} rounds\n")
    print("| row | tandem | llama.cpp | ratio |\n|---|---:|---:|---:|", flush=True)
    rows = [("prefill 512, tok/s", lambda: ours(model, 512, 0, 1), lambda: theirs(model, 512, 0)),
            ("decode, tok/s", lambda: ours(model, 0, 64, 1), lambda: theirs(model, 0, 64))]
    for b in (4, 8, 16, 32):
        rows.append((f"decode of {b} sequences, tok/s", lambda b=b: ours(model, 0, 32, b),
                     lambda b=b: theirs_batched(model, 32, b)))
    for label, a, b in rows:
        mine, other = best([(a(), b()) for _ in range(rounds)], max)
        print(f"| {label} | {mine:.0f} | {other:.0f} | {mine / other:.2f} |", flush=True)
    starts = [(our_start(model), their_start(model)) for _ in range(rounds)]
    mine, other = best([(x[0], y[0]) for x, y in starts], min)
    print(f"| start to first token, s (less is better) | {mine:.2f} | {other:.2f} | {mine / other:.2f} |")
    mine, other = best([(x[1], y[1]) for x, y in starts], min)
    print(f"| peak resident memory, MiB (less is better) | {mine:.0f} | {other:.0f} | {mine / other:.2f} |", flush=True)
PY
