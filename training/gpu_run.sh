#!/usr/bin/env bash
# Trains networks one after another on a machine with one GPU that is borrowed for minutes, each in its seconds:
#
#     FACEID_FACES=DIR OUT=DIR training/gpu_run.sh CONFIG.yaml=SECONDS...
#
# Into $OUT go each network, as a float16 model file in parts of 15 MiB that `cat` joins, and the logs of all. The runs
# are under $FACEID_RUNS (/tmp/faceid-runs); called again, it goes on where a run was cut.
set -uo pipefail

: "${FACEID_FACES:?the folder of parts that faceid train pack wrote}" "${OUT:?the folder of what comes back}"
runs=${FACEID_RUNS:-/tmp/faceid-runs}
grace=20 # seconds more than a run may take before it is stopped; its last checkpoint stays

train() { timeout "$((seconds + grace))" faceid train run "$1" -o "$folder" --within "$seconds" 2>&1 | tee -a "$folder/log.txt"; }

for each in "$@"; do
    config=${each%=*} seconds=${each##*=}
    name=$(sed -n 's/^name: //p' "$config")
    folder=$runs/$name
    mkdir -p "$folder"
    if ! train "$config" && [ ! -e "$folder/checkpoint.safetensors" ]; then
        # Nothing came of it in the time, or torch cannot compile here: once more without compiling.
        sed 's/^compiled: true/compiled: false/' "$config" >"${config%.yaml}-plain.yaml"
        train "${config%.yaml}-plain.yaml"
    fi
    model=$folder/$name.safetensors
    faceid train export "$folder" -o "$model" --licence "non-commercial research" \
        --training-data "aligned faces of CelebA and Pins, and where a teacher taught FairFace, UTKFace, All-Age-Faces and more of CelebA" &&
        split --bytes 15M --numeric-suffixes "$model" "$OUT/$name.safetensors."
    (cd "$runs" && tar -cJf "$OUT/logs.tar.xz" ./*/log.txt ./*/*.csv)
done
