#!/usr/bin/env bash
# Every fuzzer in turn, or those that are named, for so many seconds each:
#   fuzz/run.sh 60
#   fuzz/run.sh 600 sql conversation
# Needs a nightly compiler and `cargo install cargo-fuzz`. What is new goes to fuzz/target/corpus,
# what fails to fuzz/artifacts. Without a sanitizer: there is no unsafe code to look into.
#   fuzz/run.sh keep    takes over into fuzz/corpus what reaches most with least.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=${1:?"seconds, or: keep"}
shift
targets=("$@")
[ "$#" != 0 ] || mapfile -t targets < <(ls fuzz/corpus)

cargo +nightly fuzz build -s none >&2
programs=fuzz/target/$(rustc -vV | sed -n 's/^host: //p')/release
printf '%-20s %14s %10s %8s %8s  %s\n' target executions seconds edges inputs outcome
for target in "${targets[@]}"; do
  new=fuzz/target/corpus/$target
  mkdir -p "$new" "fuzz/artifacts/$target"
  if [ "$what" = keep ]; then
    kept=$(mktemp -d)
    "$programs/$target" -merge=1 -use_counters=0 -max_len=2048 "$kept" "fuzz/corpus/$target" "$new" >&2 2>/dev/null
    rm -r "fuzz/corpus/$target"
    mv "$kept" "fuzz/corpus/$target"
    chmod 755 "fuzz/corpus/$target"
    continue
  fi
  log=$(mktemp)
  outcome=clean
  "$programs/$target" -max_total_time="$what" -rss_limit_mb=1024 -timeout=20 -max_len=4096 \
    -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" "$new" \
    "fuzz/corpus/$target" >"$log" 2>&1 </dev/null || outcome="see $log"
  executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  last=$(grep -E '^#[0-9]+' "$log" | tail -n 1)
  edges=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' <<<"$last")
  inputs=$(sed -n 's/.* corp: \([0-9]*\).*/\1/p' <<<"$last")
  printf '%-20s %14s %10s %8s %8s  %s\n' "$target" "$executions" "$what" "$edges" "$inputs" "$outcome"
  [ "$outcome" != clean ] || rm "$log"
done
