"""The model trained in PyTorch, on top of dynsim
===============================================

Gradient descent on the weights by PyTorch's autograd and optimiser, on the images of a dynsim run; then the correlations of the
weights beside the reduced dynamics: a figure with their deviation, and a verdict. Needs `torch`, which dynsim does not.
"""

import argparse
import os

import numpy as np
import torch

from dynsim import Embedding, Partition, Problem, Trajectory, full, plots, reduced, sample, validation

parser = argparse.ArgumentParser(description="The model trained in PyTorch, on top of dynsim")
parser.add_argument("--quick", action="store_true", help="fewer images and steps")
parser.add_argument("--out", default=".", help="folder for pytorch.png and .pdf")
args = parser.parse_args()
os.makedirs(args.out, exist_ok=True)

n, steps, eta, every = (16, 40, 4.0, 4) if args.quick else (128, 200, 4.0, 4)
problem = Problem(K=3, gamma=0.75, P=36, kappa_c=0.8, kappa_s=0.4)
part = Partition.blocks(problem, seed=0)
data = sample(problem, part, n=n, seed=1)
vectors = Embedding.orthonormal(part, seed=2)

E, V = torch.tensor(vectors.E), torch.tensor(vectors.V)  # positions (d, P) and features (d, F), one a column
masked = torch.tensor(data.masked)
shown = torch.tensor(part.own[data.cluster])  # (n, P) feature that each patch of each image shows
z = torch.tensor(data.z)[torch.arange(n)[:, None], torch.tensor(part.labels[data.cluster])]
X = z[:, :, None] * V.T[shown]  # (n, P, d) the images
seen = torch.where(masked[:, :, None], 0.0, X)  # what the model is shown of them


class Model(torch.nn.Module):
    """One layer of softmax attention, queries from positions, value matrix the identity (eq. 2)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.Q = torch.nn.Parameter(torch.zeros(d, d, dtype=torch.float64))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """What is reconstructed of every patch, (n, P, d)."""
        attention = torch.softmax(E.T @ self.Q @ (seen + E.T).transpose(1, 2), dim=2)
        return attention @ seen


model = Model(vectors.d)
optimiser = torch.optim.SGD(model.parameters(), lr=eta)
saved = []
for step in range(steps + 1):
    error = ((model(seen) - X) ** 2).sum(dim=2)[masked]
    loss = 0.5 * error.sum() / n  # of an image: the sum over its masked patches (eq. 3)
    if step % every == 0:
        fp, pp = full.correlations(model.Q.detach(), E, V)
        saved.append((step, 0.5 * error.mean().item(), fp, pp))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

step, losses, fp, pp = (np.array(column) for column in zip(*saved, strict=True))
mine = {"t": eta * step, "loss": losses, "fp": fp, "pp": pp}
run = reduced.descend(reduced.EmpiricalField(part, data), eta=eta, steps=steps, keep=every)
found = validation.compare(mine, run)
print(found)
trained = Trajectory(**mine, step=step, attention=np.full_like(fp, np.nan), meta={"method": "PyTorch"})
figure = plots.deviation(run, trained, validation.BOUNDS)
for ending in ("png", "pdf"):
    plots.save(figure, os.path.join(args.out, f"pytorch.{ending}"))
raise SystemExit(0 if found.passed else 1)
