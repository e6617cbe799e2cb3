#!/bin/bash
# The study on a Slurm cluster: sbatch params/cluster/slurm.sh [PROFILE], from the project's root, after make setup there.
# The same command resumes a job that was ended. `processes` in the profile says how many of the GPUs a training uses.
#SBATCH --job-name=super-tiny
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gres=gpu:4
#SBATCH --cpus-per-task=32
#SBATCH --mem=256G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=slurm-%j.out
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
exec .venv/bin/python -m lib.stages --profile "${1:-paper}"
