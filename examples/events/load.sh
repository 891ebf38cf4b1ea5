#!/usr/bin/env bash
# Posts events of every type in batches and counts the answers. Needs bash and curl.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: load.sh [--users URL] [--translations URL] [--count N] [--subjects N] [--batch N] [--timeout SECONDS]

Posts events of the five types in turn, in batches, counts the answers, and ends with one line:
  RESULT sent=… accepted=… refused=… failed=…
accepted: 2xx. refused: 4xx. failed: 5xx, or no answer at all.

  --users URL          where user events go (http://localhost:3000/user-events)
  --translations URL   where translation events go (http://localhost:3001/translation-events)
  --count N            how many events (1000)
  --subjects N         of how many users, and of how many texts (50)
  --batch N            how many in a request, at most 500 (100)
  --timeout SECONDS    how long to wait for an answer (10)
  --help               this text

Ends with 0 if every event was accepted, with 1 if not, with 2 if it was called wrongly.
TEXT
}

wrong() {
  echo "load.sh: $1; load.sh --help tells more" >&2
  exit 2
}

users=http://localhost:3000/user-events translations=http://localhost:3001/translation-events
count=1000 subjects=50 batch=100 timeout=10
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --users | --translations | --count | --subjects | --batch | --timeout) [ $# -gt 1 ] || wrong "$1 needs a value" ;;
    *) wrong "there is no option $1" ;;
  esac
  case $1 in
    --users) users=$2 ;;
    --translations) translations=$2 ;;
    --count) count=$2 ;;
    --subjects) subjects=$2 ;;
    --batch) batch=$2 ;;
    --timeout) timeout=$2 ;;
  esac
  shift 2
done
for pair in "users $users" "translations $translations"; do
  read -r name value <<<"$pair"
  [[ $value =~ ^https?://[^[:space:]]+$ ]] || wrong "--$name must be an address such as http://localhost:3000/user-events, not '$value'"
done
for pair in "count $count 1 9999999" "subjects $subjects 1 9999999" "batch $batch 1 500" "timeout $timeout 1 3600"; do
  read -r name value least most <<<"$pair"
  [[ $value =~ ^[0-9]{1,7}$ ]] && ((10#$value >= least && 10#$value <= most)) || wrong "--$name must be a whole number from $least to $most, not '$value'"
done
command -v curl >/dev/null || wrong "curl is missing"

kinds=(user.created translation.requested user.updated translation.completed user.deleted)
run=$(date +%s)-$$ accepted=0 refused=0 failed=0

# event N: the Nth of all.
event() {
  local kind=${kinds[$1 % ${#kinds[@]}]} subject=text-$(($1 % 10#$subjects))
  [[ $kind != user.* ]] || subject=user-$(($1 % 10#$subjects))@load.example
  printf '{"specversion":"1.0","id":"%s-%d","source":"/load","type":"%s","subject":"%s","data":{"at":%d}}' "$run" "$1" "$kind" "$subject" "$1"
}

# post URL N...: these in one request.
post() {
  local url=$1 body status
  shift
  [ $# -gt 0 ] || return 0
  body=$(event "$1"; for n in "${@:2}"; do printf ','; event "$n"; done)
  status=$(curl -sS -o /dev/null -w '%{http_code}' --max-time "$timeout" -H 'content-type: application/cloudevents-batch+json' --data-binary "[$body]" "$url") || true
  case $status in
    2??) accepted=$((accepted + $#)) ;;
    4??) refused=$((refused + $#)) ;;
    *) failed=$((failed + $#)) ;;
  esac
}

for ((first = 0; first < 10#$count; first += 10#$batch)); do
  of_users=() of_translations=()
  for ((n = first; n < first + 10#$batch && n < 10#$count; n++)); do
    if [[ ${kinds[n % ${#kinds[@]}]} = user.* ]]; then of_users+=("$n"); else of_translations+=("$n"); fi
  done
  post "$users" "${of_users[@]}"
  post "$translations" "${of_translations[@]}"
done
echo "RESULT sent=$((10#$count)) accepted=$accepted refused=$refused failed=$failed"
[ "$accepted" = "$((10#$count))" ]
