#!/usr/bin/env bash
# Serve a checkpoint with vLLM on a CPU: CHECKPOINT PORT. Run `make peer NAME=vllm-cpu` first.
set -euo pipefail
environment="$(cd "$(dirname "$0")" && pwd)/.env-vllm-cpu"
export VLLM_CPU_KVCACHE_SPACE=1 VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_NO_USAGE_STATS=1 HF_HUB_OFFLINE=1
exec "$environment/bin/python" -m vllm.entrypoints.openai.api_server --model "$1" --served-model-name nano \
  --port "$2" --host 127.0.0.1 --dtype float32 --enforce-eager --max-num-seqs 4 --max-model-len 1024 \
  --limit-mm-per-prompt '{"image":1,"video":0}'
