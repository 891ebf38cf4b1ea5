#!/usr/bin/env bash
# Posts carts, and shows the receipts that come out at the other end. Needs bash, curl and kubectl.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: demo.sh [--namespace NAME] [--count N] [--timeout SECONDS]

Posts carts, and one for a country whose tax nobody knows. Waits until each cart's receipt is printed and the last one is put aside,
prints the last receipt, and ends with one line:
  RESULT posted=… receipts=… dead_letters=…

  --namespace NAME   where the example was applied (handlers)
  --count N          how many carts (20)
  --timeout SECONDS  how long to wait for the receipts (60)
  --help             this text

Ends with 0 if every cart came out where it should, with 1 if not, with 2 if it was called wrongly.
TEXT
}

wrong() {
  echo "demo.sh: $1; demo.sh --help tells more" >&2
  exit 2
}

namespace=handlers count=20 timeout=60
while [ $# -gt 0 ]; do
  case $1 in
    --help) usage; exit 0 ;;
    --namespace | --count | --timeout) [ $# -gt 1 ] || wrong "$1 needs a value" ;;
    *) wrong "there is no option $1" ;;
  esac
  case $1 in
    --namespace) namespace=$2 ;;
    --count) count=$2 ;;
    --timeout) timeout=$2 ;;
  esac
  shift 2
done
[[ $count =~ ^[0-9]{1,4}$ ]] && ((10#$count > 0)) || wrong "--count must be a whole number from 1 to 9999, not '$count'"
[[ $timeout =~ ^[0-9]{1,6}$ ]] && ((10#$timeout > 0)) || wrong "--timeout must be a whole number of 1 or more, not '$timeout'"
for program in curl kubectl; do command -v "$program" >/dev/null || wrong "$program is missing"; done

log=$(mktemp)
kubectl -n "$namespace" port-forward service/checkout :3000 >"$log" 2>&1 &
forward=$!
trap 'kill "$forward" 2>/dev/null || true; rm -f "$log"' EXIT
port=
for _ in $(seq 100); do
  port=$(sed -n 's/^Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$log")
  [ -z "$port" ] && kill -0 "$forward" 2>/dev/null || break
  sleep 0.1
done
[ -n "$port" ] || { cat "$log" >&2; exit 1; }

run=$(date +%s)-$$ posted=0
# post NUMBER COUNTRY
post() {
  local status
  status=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 10 "http://localhost:$port/carts" -H 'content-type: application/cloudevents+json' -d "{
    \"specversion\": \"1.0\", \"id\": \"$run-$1\", \"source\": \"/demo\", \"type\": \"cart.checkedout\", \"subject\": \"customer-$(($1 % 5))\",
    \"data\": {\"cartId\": \"$run-$1\", \"country\": \"$2\", \"items\": [{\"sku\": \"mug\", \"quantity\": $1, \"price\": 4.5}]}}") || true
  [ "$status" = 202 ] || { echo "cart $1 for $2: $status"; exit 1; }
  posted=$((posted + 1))
}

# How many carts were put aside, as the workers count them.
put_aside() {
  local pod
  for pod in $(kubectl -n "$namespace" get pods -l penstock.dev/pipeline=tax -o name); do
    kubectl get --raw "/api/v1/namespaces/$namespace/pods/${pod#pod/}:8080/proxy/metrics"
  done | awk '/^penstock_worker_dead_letters_total/ { sum += $2 } END { print sum + 0 }'
}

before=$(put_aside)
for number in $(seq "$((10#$count))"); do post "$number" DE; done
echo "posted $posted carts for DE"
post 0 ATLANTIS
echo "posted one cart for ATLANTIS"

printed() {
  kubectl -n "$namespace" logs -l penstock.dev/pipeline=desk --tail=-1 | grep '"message":"a receipt"' | grep -F "cart $run-" || true
}
receipts=0 dead=0
for _ in $(seq "$((10#$timeout))"); do
  lines=$(printed)
  receipts=$(grep -c . <<<"$lines" || true)
  dead=$(($(put_aside) - before))
  [ "$receipts" -lt "$((10#$count))" ] || [ "$dead" -lt 1 ] || break
  sleep 1
done
tail -n 1 <<<"$lines" | sed -n 's/.*"value":"\([^"]*\)".*/\1/p' | sed 's/\\n/\n/g'
echo "RESULT posted=$posted receipts=$receipts dead_letters=$dead"
[ "$receipts" = "$((10#$count))" ] && [ "$dead" -ge 1 ]
