#!/usr/bin/env bash
# Posts one event of each type, and one of a type that nobody handles; then shows what the handlers said. Needs bash, curl and kubectl.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: demo.sh [--namespace NAME] [--timeout SECONDS]

Posts one event of each of the five types, and one of the type user.moved, which has no handler. Waits until each was handled, prints
what its handler said, and ends with one line:
  RESULT posted=… handled=… dead_letters=…

  --namespace NAME   where the example was applied (events)
  --timeout SECONDS  how long to wait for the handlers (60)
  --help             this text

Ends with 0 if every event was handled and the one without a handler was put aside, with 1 if not, with 2 if it was called wrongly.
TEXT
}

wrong() {
  echo "demo.sh: $1; demo.sh --help tells more" >&2
  exit 2
}

namespace=events timeout=60
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --namespace | --timeout) [ $# -gt 1 ] || wrong "$1 needs a value" ;;
    *) wrong "there is no option $1" ;;
  esac
  case $1 in
    --namespace) namespace=$2 ;;
    --timeout) timeout=$2 ;;
  esac
  shift 2
done
[[ $timeout =~ ^[0-9]{1,6}$ ]] && ((10#$timeout > 0)) || wrong "--timeout must be a whole number of 1 or more, not '$timeout'"
for program in curl kubectl; do command -v "$program" >/dev/null || wrong "$program is missing"; done

forwards=()
trap 'for pid in "${forwards[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT

# Forwards a free port to a service; leaves its number in `port`.
forward() {
  local log
  log=$(mktemp)
  kubectl -n "$namespace" port-forward "service/$1" :3000 >"$log" 2>&1 &
  forwards+=($!)
  for _ in $(seq 100); do
    port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$log")
    [ -z "$port" ] || break
    kill -0 "$!" 2>/dev/null || break
    sleep 0.1
  done
  [ -n "$port" ] || { cat "$log" >&2; rm -f "$log"; exit 1; }
  rm -f "$log"
}

run=$(date +%s)-$$ posted=0
# post TYPE SUBJECT PATH
post() {
  local status
  status=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 10 "http://localhost:$port$3" -H 'content-type: application/cloudevents+json' -d "{
    \"specversion\": \"1.0\", \"id\": \"$run-$1\", \"source\": \"/demo\", \"type\": \"$1\", \"subject\": \"$2\", \"data\": {\"run\": \"$run\"}}") || true
  echo "posted   $1 of $2: $status"
  [ "$status" = 202 ] || exit 1
  posted=$((posted + 1))
}

# How many events of a type without a handler there were, as the workers count them.
unknown() {
  local pod
  for pod in $(kubectl -n "$namespace" get pods -l penstock.dev/pipeline=handlers -o name); do
    kubectl get --raw "/api/v1/namespaces/$namespace/pods/${pod#pod/}:8080/proxy/metrics"
  done | awk '/^penstock_worker_events_without_handler_total\{reason="unknown"\}/ { sum += $2 } END { print sum + 0 }'
}

before=$(unknown)
forward users
for type in user.created user.updated user.moved user.deleted; do post "$type" john@doe.example /user-events; done
forward translations
for type in translation.requested translation.completed; do post "$type" text-7 /translation-events; done

said() {
  kubectl -n "$namespace" logs -l penstock.dev/pipeline=handlers --tail=-1 | grep -F "\\\"run\\\": \\\"$run\\\"" || true
}
handled=0 dead=0
for _ in $(seq "$((10#$timeout))"); do
  lines=$(said)
  handled=$(grep -c . <<<"$lines" || true)
  dead=$(($(unknown) - before))
  [ "$handled" -lt 5 ] || [ "$dead" -lt 1 ] || break
  sleep 1
done
sed -n 's/.*"message":"\([^"]*\)".*"key":"\([^"]*\)".*/handled  \1: \2/p' <<<"$lines"
echo "RESULT posted=$posted handled=$handled dead_letters=$dead"
[ "$handled" = 5 ] && [ "$dead" -ge 1 ]
