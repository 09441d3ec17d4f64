#!/bin/sh
# From scans to a network with its scores; interrupted, the same command goes on where it was.
#
#   sh examples/zoo/recipe.sh hippocampus-unet Task04_Hippocampus
#   sh examples/zoo/recipe.sh kidney-tumour-unet kits23/dataset work/kidney training.epochs=100 training.seed=2
#
# MODEL is a folder beside this file, SOURCE the scans, WORK a folder for what is made (work/MODEL where it is left out).
# KEY=VALUE words go to 'r2d2 train'.
set -eu

recipes=$(dirname "$0")
model=${1:-} source=${2:-} work=work/${1:-}
if [ -z "$source" ] || [ ! -f "$recipes/$model/r2d2.yaml" ]; then
    echo "usage: sh $0 MODEL SOURCE [WORK] [KEY=VALUE ...]; MODEL is one of:" "$(cd "$recipes" && echo */)" >&2
    exit 2
fi
shift 2
case ${1:-=} in *=*) ;; *) work=$1 && shift ;; esac
settings=$recipes/$model/r2d2.yaml

r2d2 prepare "$source" --config "$settings" --out "$work/dataset"
if [ -f "$work/run/config.yaml" ]; then
    r2d2 train --run-dir "$work/run" --resume "$@"
else
    r2d2 train --config "$settings" --dataset "$work/dataset" --run-dir "$work/run" "$@"
fi
if [ ! -f "$work/predictions/prediction.json" ]; then
    r2d2 choose-rules --model "$work/run" --dataset "$work/dataset"
    r2d2 predict --model "$work/run" --dataset "$work/dataset" --split test --out "$work/predictions"
fi
if [ ! -f "$work/evaluation/summary.json" ]; then
    r2d2 evaluate --dataset "$work/dataset" --split test --prediction "$work/predictions" --out "$work/evaluation"
fi
card=$recipes/$model/card.yaml
[ -f "$card" ] || card="card.yaml ('r2d2 zoo describe $work/run' writes one to fill in)"
echo "look at $work/evaluation/report.html; then publish it with a card for people:
  r2d2 zoo publish $work/run --name $model --half --prediction $work/predictions --evaluation $work/evaluation \\
    --description $card" >&2
