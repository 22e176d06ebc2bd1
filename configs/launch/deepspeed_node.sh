#!/usr/bin/env bash
# One machine by DeepSpeed's own launcher; with a second argument of hosts, several (passwordless ssh between them).
#   bash configs/launch/deepspeed_node.sh configs/train/spinegpt_7b.yaml runs/spinegpt_7b
#   HOSTFILE=hosts.txt bash configs/launch/deepspeed_node.sh configs/train/spinegpt_32b.yaml runs/spinegpt_32b
set -euo pipefail
config=${1:?give the training config}
out=${2:?give the run folder}
shift 2
hosts=()
if [[ -n "${HOSTFILE:-}" ]]; then
    hosts=(--hostfile "$HOSTFILE")
fi
exec deepspeed "${hosts[@]}" --module spinemed train run "$config" --out "$out" "$@"
