#!/usr/bin/env bash
# All of Shoal in one command: a three-node Kubernetes, the operator, a collection, the sample, two searches. The cluster
# stays up for a look around.
set -euo pipefail
cd "$(dirname "$0")/.."
unset KUBECONFIG
run=e2e/cluster/run kubectl=e2e/cluster/kubectl
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

say "a Kubernetes of three nodes"
e2e/cluster/up.sh
say "images"
make image image-load
say "the operator, by Helm"
e2e/deploy.sh
say "a collection: config/samples/vectorcollection.yaml"
began=$(date +%s%N)
$kubectl apply -f config/samples/vectorcollection.yaml
$kubectl wait --for=condition=Ready vectorcollection/wordnet --timeout=3m
echo "Ready after $((($(date +%s%N) - began) / 1000000)) ms"
$kubectl get vectorcollections,shards,pods,pvc -o wide
say "10,000 points through the router, and two searches"
key=$($kubectl get secret shoal-api-key -o 'jsonpath={.data.api-key}' | base64 -d)
url=http://$($kubectl get service shoal -o 'jsonpath={.spec.clusterIP}'):6333
shoal=target/$(rustc --print host-tuple)/release/shoal
$run "$shoal" sample --url "$url" --api-key "$key" --data config/samples/wordnet
say "what to try next"
cat <<T
  $kubectl get vc,shards
  $kubectl delete pod -l shoal.dev/collection=wordnet     # the shards come back with their data
  $run curl -s $url/collections/wordnet -H 'api-key: $key'
  make cluster-down
T
