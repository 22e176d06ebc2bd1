#!/usr/bin/env bash
# One machine, all its GPUs. Restarts from the last complete checkpoint up to three times when a process dies.
#   bash configs/launch/torchrun_node.sh configs/train/spinegpt_7b.yaml runs/spinegpt_7b
set -euo pipefail
config=${1:?give the training config}
out=${2:?give the run folder}
shift 2
spinemed train verify "$config" "$@"
exec torchrun --standalone --nproc-per-node "${GPUS:-gpu}" --max-restarts 3 \
    -m spinemed train run "$config" --out "$out" "$@"
