#!/bin/bash
# Train on a SLURM cluster. Written by robolearn from configs/cluster/slurm.sh and configs/cluster/$site.yaml.
# Preempted or out of time, the run saves a checkpoint; requeued, it continues bit-identically.
#SBATCH --job-name=$name
#SBATCH --nodes=$nodes
#SBATCH --ntasks-per-node=$tasks_per_node
#SBATCH --cpus-per-task=$cpus_per_task
#SBATCH --time=$time
#SBATCH --requeue
#SBATCH --open-mode=append
# Beside the script: SLURM opens it before anything can make a folder.
#SBATCH --output=%x-%j.log
# SIGTERM reaches the training two minutes before the time limit.
#SBATCH --signal=TERM@120
$directives

set -u
trap : TERM  # the shell outlives the signal; the training answers it
$environment
export SRUN_CPUS_PER_TASK="$${SLURM_CPUS_PER_TASK:-1}"  # srun does not take it over from sbatch by itself

srun $srun_options $command
status=$$?

# Unfinished without an error: out of time or preempted (143: before the training could handle it). Requeue it;
# a preempted job that is already queued stays so.
if [ "$$status" -eq 0 ] || [ "$$status" -eq 143 ]; then
    grep -Eqs '"outcome": "(finished|time budget)"' "$run_dir/run.json" || scontrol requeue "$$SLURM_JOB_ID" || true
fi
exit "$$status"
