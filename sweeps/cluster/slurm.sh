#!/bin/bash
# A sweep on several nodes of a SLURM cluster: sbatch sweeps/cluster/slurm.sh sweeps/tga_alpha_beta.py --preset paper
# Submit from the root of a checkout on a disk that all nodes share, with the environment in .venv (make install).
#SBATCH --job-name=zsr
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=24:00:00
set -euo pipefail

cd "$SLURM_SUBMIT_DIR"
# shellcheck source=/dev/null
. .venv/bin/activate

# Only this job's processes know the token. srun passes the environment on.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head_ip=$(srun --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | awk '{print $1}')
address=$head_ip:$((20000 + SLURM_JOB_ID % 10000))

# The command runs on the first node alone. RAY_ADDRESS makes the sweep join this cluster instead of starting a Ray.
export RAY_ADDRESS=$address
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    ray symmetric-run --address "$address" --min-nodes "$SLURM_JOB_NUM_NODES" --include-dashboard=false \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
    -- python "$@" --results "${ZSR_RESULTS:-$SLURM_SUBMIT_DIR/results}"
