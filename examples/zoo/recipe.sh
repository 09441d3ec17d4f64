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
set -f  # words such as augmentation.zoom=[0.8,1.2] are no patterns
shift 2
case ${1:-=} in *=*) ;; *) work=$1 && shift ;; esac
settings=$recipes/$model/r2d2.yaml

# A line for each of several networks that are asked together, with what sets its slices apart; without the file, one network.
networks=$recipes/$model/networks.txt
count=1
[ ! -f "$networks" ] || count=$(grep -c . "$networks")
numbered() { [ "$count" = 1 ] && echo "$work/$1" || echo "$work/$1-$2"; }

# what was chosen on validation cases is trained a little more, with them; the test cases stay out
finish=$recipes/$model/finish.yaml last=run
[ ! -f "$finish" ] || last=run-finish

number=1
while [ "$number" -le "$count" ]; do
    dataset=$(numbered dataset $number) run=$(numbered run $number)
    words=$([ "$count" = 1 ] || sed -n "${number}p" "$networks")
    # shellcheck disable=SC2086  # words of their own
    r2d2 prepare "$source" --config "$settings" --out "$dataset" $words
    if [ -f "$run/config.yaml" ]; then
        r2d2 train --run-dir "$run" --resume "$@"
    else
        r2d2 train --config "$settings" --dataset "$dataset" --run-dir "$run" "$@"
    fi
    if [ -f "$finish" ]; then
        dataset=$(numbered dataset-finish $number) longer=$(numbered run-finish $number)
        # shellcheck disable=SC2086
        r2d2 prepare "$source" --config "$finish" --out "$dataset" $words
        if [ -f "$longer/config.yaml" ]; then
            r2d2 train --run-dir "$longer" --resume
        else
            r2d2 train --config "$finish" --dataset "$dataset" --run-dir "$longer" "transfer.start_from=$run"
        fi
    fi
    number=$((number + 1))
done

dataset=$(numbered dataset 1) run=$(numbered $last 1) together=
set -- --model "$run"
number=2
while [ "$number" -le "$count" ]; do
    set -- "$@" --model "$(numbered $last $number)"
    together="$together --with $(numbered $last $number)"
    number=$((number + 1))
done
if [ ! -f "$work/predictions/prediction.json" ]; then
    [ "$count" != 1 ] || r2d2 choose-rules --model "$run" --dataset "$dataset"
    views=$recipes/$model/views.txt  # options of 'r2d2 predict', chosen on validation cases
    # shellcheck disable=SC2046
    [ ! -f "$views" ] || set -- "$@" $(cat "$views")
    r2d2 predict "$@" --dataset "$dataset" --split test --out "$work/predictions"
fi
if [ ! -f "$work/evaluation/summary.json" ]; then
    r2d2 evaluate --dataset "$dataset" --split test --prediction "$work/predictions" --out "$work/evaluation"
fi
card=$recipes/$model/card.yaml
[ -f "$card" ] || card="card.yaml ('r2d2 zoo describe $run' writes one to fill in)"
echo "look at $work/evaluation/report.html; then publish it with a card for people:
  r2d2 zoo publish $run$together --name $model --half --prediction $work/predictions --evaluation $work/evaluation \\
    --description $card" >&2
