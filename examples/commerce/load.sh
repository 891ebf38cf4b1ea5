#!/usr/bin/env bash
# Posts events of many users in batches and counts the answers. Needs bash and curl.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: load.sh [--url URL] [--count N] [--users N] [--batch N] [--timeout SECONDS]

Posts events in batches, counts the answers, and ends with one line:
  RESULT sent=… accepted=… refused=… failed=…
accepted: 2xx. refused: 4xx. failed: 5xx, or no answer at all.

  --url URL          where to post (http://localhost:3000/events)
  --count N          how many events (1000)
  --users N          of how many users (50)
  --batch N          how many in a request, at most 500 (100)
  --timeout SECONDS  how long to wait for an answer (10)
  --help             this text

Ends with 0 if every event was accepted, with 1 if not, with 2 if it was called wrongly.
TEXT
}

wrong() {
  echo "load.sh: $1; load.sh --help tells more" >&2
  exit 2
}

url=http://localhost:3000/events count=1000 users=50 batch=100 timeout=10
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --url | --count | --users | --batch | --timeout) [ $# -gt 1 ] || wrong "$1 needs a value" ;;
    *) wrong "there is no option $1" ;;
  esac
  case $1 in
    --url) url=$2 ;;
    --count) count=$2 ;;
    --users) users=$2 ;;
    --batch) batch=$2 ;;
    --timeout) timeout=$2 ;;
  esac
  shift 2
done
[[ $url =~ ^https?://[^[:space:]]+$ ]] || wrong "--url must be an address such as http://localhost:3000/events, not '$url'"
for pair in "count $count 1 9999999" "users $users 1 9999999" "batch $batch 1 500" "timeout $timeout 1 3600"; do
  read -r name value least most <<<"$pair"
  [[ $value =~ ^[0-9]{1,7}$ ]] && ((10#$value >= least && 10#$value <= most)) || wrong "--$name must be a whole number from $least to $most, not '$value'"
done
command -v curl >/dev/null || wrong "curl is missing"

kinds=(view search cart checkout buy)
run=$(date +%s)-$$ accepted=0 refused=0 failed=0
for ((first = 0; first < 10#$count; first += 10#$batch)); do
  last=$((first + 10#$batch < 10#$count ? first + 10#$batch : 10#$count))
  body=$(for ((n = first; n < last; n++)); do
    [ "$n" = "$first" ] || printf ','
    printf '{"specversion":"1.0","id":"%s-%d","source":"/load","type":"commerce.event","data":{"user_id":"user-%d","event_type":"%s","at":%d}}' \
      "$run" "$n" "$((n % 10#$users))" "${kinds[n % ${#kinds[@]}]}" "$n"
  done)
  status=$(curl -sS -o /dev/null -w '%{http_code}' --max-time "$timeout" -H 'content-type: application/cloudevents-batch+json' --data-binary "[$body]" "$url") || true
  case $status in
    2??) accepted=$((accepted + last - first)) ;;
    4??) refused=$((refused + last - first)) ;;
    *) failed=$((failed + last - first)) ;;
  esac
done
echo "RESULT sent=$((10#$count)) accepted=$accepted refused=$refused failed=$failed"
[ "$accepted" = "$((10#$count))" ]
