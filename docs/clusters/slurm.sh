#!/bin/bash
# A sweep as one Slurm job over several nodes: sbatch docs/clusters/slurm.sh sweeps/llamafy.yaml /shared/runs [options of run]
# Preempted, at its time limit, or after a node failed, the job is queued again and goes on. See docs/clusters.md.
#SBATCH --job-name=sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
# For GPUs add --gpus-per-node=N here; Ray finds them by itself. Two minutes before the end this script, and no step, hears of it.
set -euo pipefail
spec=$1 store=$2
options=("${@:3}") # --only, --seeds, --tracking-uri, train.epochs=2: what `orchestrator run` takes

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
on() { exec srun --nodes=1 --ntasks=1 --overlap --nodelist="$1" "${@:2}"; }
head_ip=$(on "${nodes[0]}" hostname --ip-address | awk '{print $1}')
address=$head_ip:$((20000 + SLURM_JOB_ID % 20000)) # two jobs on one node must not meet
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') # else anybody on the network may run code as you
start=(ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" --object-store-memory=100000000)

trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
on "${nodes[0]}" "${start[@]}" --head --include-dashboard=false --node-ip-address="$head_ip" --port="${address##*:}" &
until (exec 3<> "/dev/tcp/$head_ip/${address##*:}") 2> /dev/null; do sleep 1; done
for node in "${nodes[@]:1}"; do
  on "$node" "${start[@]}" --address="$address" &
done

orchestrator run "$spec" --store "$store" --address "$address" "${options[@]}" &
driver=$!
trap 'kill -TERM $driver' TERM # it lets every trial save, and ends with 130
code=0
wait $driver || code=$?
while kill -0 $driver 2> /dev/null; do # the signal ended the waiting, not yet the driver
  code=0
  wait $driver || code=$?
done
if ((code == 130 || code == 3)) && ((${SLURM_RESTART_COUNT:-0} < 50)); then # interrupted, or the cluster was lost
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
