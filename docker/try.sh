#!/bin/sh
# Starts the CPU trial of the compose stack, asks it something through the edge, and takes it down.
# Run docker/setup.sh first. COMPOSE and ENGINE name other tools than docker's.
set -eu
cd "$(dirname "$0")"

compose="${COMPOSE:-docker compose} -f compose.yaml -f compose.cpu.yaml"
engine=${ENGINE:-docker}
secrets=${RAGSERVE_SECRETS:-./secrets}
services="redis-queue redis-cache milvus rag-service llamaindex-query llamaindex-ingestion edge"
export OLLAMA_EMBED_URL= OLLAMA_LLM_URL=
export RAGSERVE_CONFIG="${RAGSERVE_CONFIG:-ray_config/serve.production.cpu.yaml}"
started=$(date +%s)

container() { $engine ps --format '{{.Names}}' | grep "[-_]$1[-_]1$"; }
take_down() { $compose down; }
trap take_down EXIT

# shellcheck disable=SC2086
$compose up -d $services
edge="curl --silent --show-error --cacert $secrets/edge/edge.crt --max-time 120"

echo "== waiting for the applications"
until $edge --fail --output /dev/null https://127.0.0.1:3400/health/ready; do
    if [ $(($(date +%s) - started)) -gt 900 ]; then
        $engine logs "$(container rag-service)" | tail -50
        exit 1
    fi
    sleep 5
done
echo "ready after $(($(date +%s) - started)) s"
$engine exec "$(container rag-service)" ray status | sed -n '/Active/,/Pending/p'
$engine exec "$(container rag-service)" serve status | grep -E '^  [a-z]+:|status: (RUNNING|HEALTHY)|RUNNING:' || exit 1

echo "== health checks"
for name in rag-service llamaindex-query llamaindex-ingestion edge; do
    $engine exec "$(container $name)" true
    if [ "$name" = edge ]; then
        $engine exec "$(container edge)" curl --fail --silent http://127.0.0.1:8405/healthz && echo " $name"
    else
        $engine exec "$(container $name)" python /opt/ragserve/bin/health.py && echo "ok $name"
    fi
done

echo "== a key, a document, a question"
key=$($engine exec "$(container rag-service)" ragserve keys create trial \
    --scope query --scope ingest --collection '*' --direct | grep -o 'rsk_[A-Za-z0-9_-]*' | head -1)
auth="Authorization: Bearer $key"
json="Content-Type: application/json"
$edge -H "$auth" -H "$json" https://127.0.0.1:3400/v1/collections -d '{"name": "trial"}'
echo
$edge -H "$auth" https://127.0.0.1:3400/v1/collections/trial/documents \
    -F 'files=@../README.md;type=text/markdown' | cut -c1-200
echo
sleep 20
question='{"collection": "trial", "question": "Which port serves the HTTP API and the console?"}'
$edge --fail -H "$auth" -H "$json" https://127.0.0.1:3400/v1/query -d "$question" | cut -c1-400
echo

echo "== a service without, and with, a certificate"
inner="$engine exec -i $(container edge) curl --silent --max-time 10 --insecure --output /dev/null"
$inner --write-out '%{http_code}\n' https://127.0.0.1:8202/health || echo "refused without a certificate"

echo "== who runs as whom, and what is published"
$engine exec "$(container rag-service)" id
$engine exec "$(container rag-service)" sh -c 'touch /opt/ragserve/x' || echo "the root is read-only"
$engine ps --format '{{.Names}} {{.Ports}}'
