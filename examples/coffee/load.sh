#!/usr/bin/env bash
# Posts orders and counts the answers. Needs bash and curl.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: load.sh [--url URL] [--count N] [--bad N] [--parallel N] [--timeout SECONDS]

Posts orders, counts the answers, and ends with one line:
  RESULT sent=… accepted=… refused=… failed=…
accepted: 2xx. refused: 4xx. failed: 5xx, or no answer at all.

  --url URL          where to post (http://localhost:3000/order)
  --count N          how many good orders (100)
  --bad N            how many more without a coffee_type, which are to be refused (0)
  --parallel N       how many at once (8)
  --timeout SECONDS  how long to wait for an answer (10)
  --help             this text

Ends with 0 if nothing failed, with 1 if something did, with 2 if it was called wrongly.
TEXT
}

wrong() {
  echo "load.sh: $1; load.sh --help tells more" >&2
  exit 2
}

url=http://localhost:3000/order count=100 bad=0 parallel=8 timeout=10
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --url | --count | --bad | --parallel | --timeout) [ $# -gt 1 ] || wrong "$1 needs a value" ;;
    *) wrong "there is no option $1" ;;
  esac
  case $1 in
    --url) url=$2 ;;
    --count) count=$2 ;;
    --bad) bad=$2 ;;
    --parallel) parallel=$2 ;;
    --timeout) timeout=$2 ;;
  esac
  shift 2
done
[[ $url =~ ^https?://[^[:space:]]+$ ]] || wrong "--url must be an address such as http://localhost:3000/order, not '$url'"
for pair in "count $count 0" "bad $bad 0" "parallel $parallel 1" "timeout $timeout 1"; do
  read -r name value least <<<"$pair"
  [[ $value =~ ^[0-9]{1,7}$ ]] && ((10#$value >= least)) || wrong "--$name must be a whole number of $least or more, not '$value'"
done
command -v curl >/dev/null || wrong "curl is missing"

# One order; prints the status of the answer, 000 where there is none.
order() {
  local body='{"customer_name": "Customer '$1'", "coffee_type": "Latte"}'
  [ "$1" -le "$count" ] || body='{"customer_name": "Customer '$1'"}'
  curl -sS -o /dev/null -w '%{http_code}\n' --max-time "$timeout" -H 'content-type: application/json' -d "$body" "$url" || true
}
export -f order
export url count timeout

total=$((10#$count + 10#$bad)) accepted=0 refused=0 failed=0
count=$((10#$count))
while read -r status; do
  case $status in
    2??) accepted=$((accepted + 1)) ;;
    4??) refused=$((refused + 1)) ;;
    *) failed=$((failed + 1)) ;;
  esac
done < <(seq 1 "$total" | xargs -P "$((10#$parallel))" -I {} bash -c 'order {}')

echo "RESULT sent=$total accepted=$accepted refused=$refused failed=$failed"
[ "$failed" = 0 ]
