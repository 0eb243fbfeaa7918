#!/usr/bin/env bash
# `make observe`: the demo, with a Prometheus that scrapes it and evaluates the shipped alerts where one is installed.
# Ports: QSR_METRICS_PORT (9464), PROMETHEUS_PORT (9090). Arguments go to the demo: --seconds 600 --rate 50.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
export QSR_METRICS_PORT=${QSR_METRICS_PORT:-9464}
prometheus_port=${PROMETHEUS_PORT:-9090}

refuse_taken() { # PORT VARIABLE
  if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
    echo "port $1 is taken by another program: set $2 to a free one, for example $2=$(($1 + 100)) make observe" >&2
    exit 2
  fi
}
refuse_taken "$QSR_METRICS_PORT" QSR_METRICS_PORT

echo "live page    http://127.0.0.1:$QSR_METRICS_PORT/"
if command -v prometheus >/dev/null; then
  refuse_taken "$prometheus_port" PROMETHEUS_PORT
  folder=build/observe/$(date +%Y%m%d-%H%M%S)-$$
  mkdir -p "$folder"
  sed -e "s/127\.0\.0\.1:9464/127.0.0.1:$QSR_METRICS_PORT/" -e "s#- alerts\.yml#- $PWD/deploy/monitoring/alerts.yml#" \
    -e "s/: 15s/: 5s/" deploy/monitoring/prometheus.yml >"$folder/prometheus.yml"
  prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/data" \
    --web.listen-address="127.0.0.1:$prometheus_port" >"$folder/prometheus.log" 2>&1 &
  prometheus=$!
  trap 'kill $prometheus 2>/dev/null || true; wait $prometheus 2>/dev/null || true' EXIT
  echo "Prometheus   http://127.0.0.1:$prometheus_port/alerts   (log and data: $folder)"
else
  echo "Prometheus   is not installed (Debian: apt install prometheus); the live page and /metrics do without"
fi
echo "dashboards   import deploy/monitoring/grafana/*.json into a Grafana, or: docker compose -f deploy/compose.yaml up"
"$python" -m streaming_app demo "$@"
