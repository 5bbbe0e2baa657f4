#!/bin/sh
# Runs every target of tests/fuzz EXECUTIONS times from its stored corpus, and prints what came of it.
# Stable Rust is enough. Not 0 when a target failed; the input is then named.
# TARGETS="pop3 imap" takes only those, JOBS=1 one after the other. An input that is found is put into
# tests/fuzz/corpus, so that it stays mended.
set -eu
cd "$(dirname "$0")/../fuzz"
executions=${EXECUTIONS:-10000000}
# libFuzzer takes 32 bits, and 0 for a random one.
seed=${SEED:-0}
echo "SEED=$seed"
targets=${TARGETS:-$(ls corpus)}
host=$(rustc -vV | sed -n 's/^host: //p')

# Coverage that guides libFuzzer, without the sanitizers that need a nightly compiler: our own code has no
# unsafe part that they could watch.
RUSTFLAGS="-Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares \
--cfg fuzzing"
export RUSTFLAGS

if ! command -v c++ >/dev/null 2>&1; then
    echo "A C++ compiler (c++) was not found; libFuzzer needs it. On Debian and Ubuntu:" >&2
    echo "  apt-get install --no-install-recommends g++" >&2
    exit 1
fi
# With --target, so that build scripts are not instrumented.
${CARGO:-cargo} build --release --locked --target "$host"
built=${CARGO_TARGET_DIR:-target}/$host/release
work=${CARGO_TARGET_DIR:-target}/work
mkdir -p "$work" crashes

one() {
    mkdir -p "$work/$1"
    before=$(find "crashes" -name "$1-*" | wc -l)
    began=$(date +%s)
    # Short inputs run fast; what needs longer ones is in the corpus.
    case $1 in
        dates | lines | mutf7 | uidset) longest=128 ;;
        control | folders | toml) longest=256 ;;
        archive) longest=1536 ;;
        *) longest=512 ;;
    esac
    # What is found goes into the work directory; the stored corpus is only read.
    "$built/$1" "$work/$1" "corpus/$1" -runs="$executions" -seed="$seed" -max_len="$longest" -timeout=20 -rss_limit_mb=2048 \
        -artifact_prefix="crashes/$1-" -print_final_stats=1 >"$work/$1.log" 2>&1 || true
    seconds=$(($(date +%s) - began))
    done=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$1.log" | tail -n 1)
    kept=$(find "$work/$1" -type f | wc -l)
    crashes=$(($(find "crashes" -name "$1-*" | wc -l) - before))
    printf '%-10s %12s executions %7s s %6s in the corpus %3s crashes\n' \
        "$1" "${done:-?}" "$seconds" "$kept" "$crashes"
    if [ "$crashes" -ne 0 ] || [ -z "$done" ] || [ "$done" -lt "$executions" ]; then
        touch "$work/failed"
        echo "$1 FAILED: the input is in tests/fuzz/crashes/$1-*, the report in $(realpath "$work/$1.log")" >&2
    fi
}

rm -f "$work/failed"
jobs=${JOBS:-$(nproc)}
running=0
for target in $targets; do
    one "$target" &
    running=$((running + 1))
    if [ "$running" -ge "$jobs" ]; then
        wait
        running=0
    fi
done
wait
[ ! -e "$work/failed" ]
