#!/usr/bin/env bash
# Starts a training run, or takes it up where its checkpoint ends, with the processor time that nobody else wants.
#
#     FACEID_RUNS=DIR training/run_in_background.sh training/configs/NAME.yaml
#
# The run's folder is $FACEID_RUNS/NAME; what it says goes into log.txt there. A second start while it runs does nothing.
set -euo pipefail

: "${FACEID_RUNS:?the folder of runs, outside the repository}"
export FACEID_RUNS
config=$1
folder=$FACEID_RUNS/$(basename "$config" .yaml)

mkdir -p "$folder"
# Where the kernel shares time out by process session (autogroup), a session's own niceness is what counts.
setsid bash -c '{ echo 19 >/proc/self/autogroup; } 2>/dev/null
    exec chrt --idle 0 nice -n 19 flock --nonblock "$0" faceid train run "$1" -o "$2"' \
    "$folder/lock" "$config" "$folder" >>"$folder/log.txt" 2>&1 </dev/null &
echo "process $!, see $folder/log.txt"
