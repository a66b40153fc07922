#!/bin/sh
# Makes what docker/compose.yaml mounts: secrets, certificates and data directories. Nothing that is
# there is overwritten. Needs openssl and the `ragserve` command (or RAGSERVE="docker run ... ragserve").
set -eu
umask 077
cd "$(dirname "$0")"

secrets=${RAGSERVE_SECRETS:-./secrets}
data=${RAGSERVE_DATA:-./data}
owner=${RAGSERVE_USER:-10001:10001}
public_name=${PUBLIC_NAME:-localhost}

if [ ! -e "$secrets" ]; then
    # The Ray nodes' certificate names their fixed addresses.
    ${RAGSERVE:-ragserve} secrets generate "$secrets" \
        --host rag-service --host llamaindex-query --host llamaindex-ingestion \
        --host 172.31.240.10 --host 172.31.240.11 --host 172.31.240.12
    openssl rand -base64 36 > "$secrets/grafana_password"
fi

if [ ! -e "$secrets/edge" ]; then
    mkdir "$secrets/edge"
    cd "$secrets/edge"
    # An authority for the edge alone: a service with its certificate is no Ray node.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=ragserve services" -keyout clients-ca.key -out clients-ca.pem
    # For a start; put a certificate of your public authority in edge.pem.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=$public_name" -addext "subjectAltName=DNS:$public_name,DNS:edge,IP:127.0.0.1" \
        -keyout edge.key -out edge.crt
    cat edge.crt edge.key > edge.pem
    # One service's certificate, to begin with: openssl x509 -req signs the others the same way.
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=example-service" \
        -keyout example-service.key -out example-service.csr
    openssl x509 -req -in example-service.csr -CA clients-ca.pem -CAkey clients-ca.key -days 365 \
        -out example-service.pem
    cd - > /dev/null
fi

for part in blobs audit redis-queue milvus ollama-embeddings ollama-llm prometheus grafana; do
    mkdir -p "$data/$part"
done

# The containers run as this user, and read files that nobody else may.
chown -R "$owner" "$secrets" "$data"
echo "Secrets in $secrets, data in $data. Keep $secrets/edge/clients-ca.key and $secrets/tls/ca.key elsewhere."
