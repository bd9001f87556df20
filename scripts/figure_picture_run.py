"""A run on faces, and what their areas predict
============================================

Attention of three queries over a face before and after training, areas of the faces, and measures along training.

What `dynsim simulate --images` draws, on 100 faces of scikit-image's lfw_subset (extra `images`), each under four masks. Printed:
the measures at start and end, and what fitted areas predict of the run.
"""

import argparse
import os
from importlib import import_module

import numpy as np

from dynsim import Images, plots, reduced
from dynsim.analysis import areas, image_attention
from dynsim.validation import prediction

parser = argparse.ArgumentParser(description="A run on faces, and what their areas predict")
parser.add_argument("--quick", action="store_true", help="fewer steps")
parser.add_argument("--out", default=".", help="folder for picture_run.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)
pictures, steps = 100, 20 if args.quick else 2000

try:
    faces = import_module("skimage.data").lfw_subset()[:pictures]
except ImportError as error:
    print(f"noise in place of faces: {error.name} is not installed")
    faces = np.random.default_rng(0).uniform(size=(pictures, 25, 25))
images = Images.cut(faces, patch=5, masks=4)
run = reduced.descend(reduced.ImageField(images), eta=2.0, steps=steps)
for name, values in image_attention.overview(images, run).items():
    print(f"{name}: {values[0]:.3f} -> {values[-1]:.3f}")
found = areas.fit(images, K=3, bootstrap=0 if args.quick else 20)
said = prediction.predicted(found, run)
print(found, said, sep="\n")
figure = plots.picture_summary(run, images, row=12, predicted=(found, said))
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"picture_run.{ending}"))
