#!/usr/bin/env bash
# Sends records through the kafka crate's own programs and counts them. Needs a checkout, cargo, and Kafka.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: load.sh [--bootstrap LIST] [--count N] [--seconds N]

Writes records to package.orders, copies them to package.copies in transactions, reads the copies as a group, and ends
with one line:
  RESULT produced=… copied=… consumed=…
All three are the number of records where nothing is lost and nothing doubled. What an interrupted run has left counts in
the next one.

  --bootstrap LIST  where Kafka is, host:port with commas between ($KAFKA_BOOTSTRAP, or localhost:9092)
  --count N         how many records (1000)
  --seconds N       how long each of the three may take (60)
  --help            this text

Ends with 0 if all three are that number, with 1 if not, with 2 if it was called wrongly.
TEXT
}

wrong() {
  echo "load.sh: $1; load.sh --help tells more" >&2
  exit 2
}

bootstrap=${KAFKA_BOOTSTRAP:-localhost:9092} count=1000 seconds=60
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --bootstrap | --count | --seconds) [ $# -gt 1 ] || wrong "$1 needs a value" ;;
    *) wrong "there is no option $1" ;;
  esac
  case $1 in
    --bootstrap) bootstrap=$2 ;;
    --count) count=$2 ;;
    --seconds) seconds=$2 ;;
  esac
  shift 2
done
for pair in "count $count" "seconds $seconds"; do
  read -r name value <<<"$pair"
  [[ $value =~ ^[1-9][0-9]{0,6}$ ]] || wrong "--$name must be a whole number of 1 or more, not '$value'"
done
command -v cargo >/dev/null || wrong "cargo is missing"

cd "$(dirname "$0")/../.."
echo "compiling the programs (the first time some minutes)"
cargo build --quiet -p penstock-kafka --examples
export KAFKA_BOOTSTRAP=$bootstrap
# Runs one for as long as --seconds says, at most.
program() {
  timeout "$seconds" cargo run --quiet -p penstock-kafka --example "$1" -- "${@:2}"
}

produced=0 copied=0 consumed=0
finish() {
  local code=$?
  echo "RESULT produced=$produced copied=$copied consumed=$consumed"
  [ "$produced $copied $consumed" = "$count $count $count" ] || code=1
  exit "$code"
}
trap finish EXIT

produced=$(program produce --topic package.orders --count "$count" | awk '/ records acknowledged/ {print $1}')
copied=$(program exactly_once --from package.orders --to package.copies --group package-copiers --id package-copier-0 --count "$count" |
  awk '/ records committed / {n += $1} END {print n + 0}')
consumed=$(program consume --topic package.copies --group package-readers --count "$count" | grep -c ' payload=')
