"""Predict the keypoints of several people in an image, given their boxes, and draw them.

    python examples/predict_people.py photo.jpg --box 40 20 200 300 --box 220 30 360 310

The boxes are annotated or from a detector. Without boxes, the whole image is the box of one person.
"""

import argparse
from pathlib import Path

from PIL import Image

import posezoo
from posezoo.images import load_image
from posezoo.viz import draw_keypoints


def main(arguments: list[str] | None = None) -> posezoo.People:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--box", nargs=4, type=float, action="append", metavar=("X1", "Y1", "X2", "Y2"))
    parser.add_argument("--model", default="simple_baseline_lite")
    parser.add_argument("--output", type=Path, default=Path("people.png"))
    args = parser.parse_args(arguments)

    people = posezoo.predict(args.image, args.model, args.box, flip=True)
    for number, (keypoints, scores) in enumerate(zip(people.keypoints, people.scores, strict=True)):
        print(f"person {number}")
        for name, (x, y), score in zip(people.skeleton.keypoints, keypoints, scores, strict=True):
            print(f"  {name:15} {x:7.1f} {y:7.1f}   {score:.2f}")

    image = draw_keypoints(load_image(args.image), people.keypoints, people.skeleton, scores=people.scores)
    Image.fromarray(image).save(args.output)
    print(f"drawn in {args.output}")
    return people


if __name__ == "__main__":
    main()
