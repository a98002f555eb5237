"""Our comparison methods against dattri's on identical tensors.

    cargo run --release -p openledger-bench-attribution -- export --dir /tmp/parity
    python bench/attribution/peers/dattri_parity.py /tmp/parity

Needs `dattri` (0.3.0) with torch for the CPU, scipy and safetensors. dattri differentiates a model by
itself, so it is given models whose gradients are the exported tensors: a loss that is linear in the
parameters has its data as gradient, and a linear layer whose output is weighted by a given row has that
row as output gradient. Prints the relative difference of every method and fails above 1e-4.

One thing of dattri 0.3.0 is corrected before the comparison: its EK-FAC multiplies by the matrix that
`torch.linalg.eigh` returns as if the eigenvectors were its rows. They are its columns, so what is shipped
turns gradients into no eigenbasis, and its scores change with the signs that LAPACK happens to choose.
The row "EK-FAC, as shipped" shows how far off that is; the comparison hands it the transposed matrix.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dattri.func.fisher as dattri_fisher
import dattri.algorithm.tracin as dattri_tracin
import dattri.algorithm.trak as dattri_trak
from dattri.algorithm.influence_function import IFAttributorDataInf, IFAttributorEKFAC
from dattri.algorithm.tracin import TracInAttributor
from dattri.algorithm.trak import TRAKAttributor
from dattri.task import AttributionTask

LIMIT = 1e-4
# Shown, not held to the limit.
SHIPPED = "EK-FAC, as shipped"


class Blocks(nn.Module):
    """One parameter per matrix of the adapter."""

    def __init__(self, sizes):
        super().__init__()
        for i, size in enumerate(sizes):
            setattr(self, f"block{i}", nn.Linear(size, 1, bias=False))


class Layers(nn.Module):
    """Linear layers side by side; each sees the inputs that it is given."""

    def __init__(self, shapes):
        super().__init__()
        self.shapes = shapes
        for i, (inputs, outputs) in enumerate(shapes):
            setattr(self, f"layer{i}", nn.Linear(inputs, outputs, bias=False))

    def forward(self, *rows):
        """rows: inputs and output gradients of each layer in turn."""
        total = 0.0
        for i in range(len(self.shapes)):
            output = getattr(self, f"layer{i}")(rows[2 * i])
            total = total + (output * rows[2 * i + 1]).sum(-1)
        return total


def loader(*tensors):
    return DataLoader(TensorDataset(*tensors), batch_size=len(tensors[0]), shuffle=False)


def linear_task(sizes, checkpoints=1):
    model = Blocks(sizes)

    def loss(params, data):
        flat = torch.cat([value.flatten() for value in params.values()])
        return (flat * data[0].reshape(-1)).sum()

    return AttributionTask(loss, model, [model.state_dict() for _ in range(checkpoints)])


def tracin(sizes, train, queries, normalized=False):
    # It projects by default; here all gradients are compared whole.
    dattri_tracin.random_project = lambda *_, **__: lambda rows, ensemble_id: rows
    attributor = TracInAttributor(
        linear_task(sizes), weight_list=torch.ones(1), normalized_grad=normalized
    )
    with torch.no_grad():
        return attributor.attribute(loader(train), loader(queries)).T


def trak(sizes, tensors, damping):
    projection = tensors["projection"]
    dattri_trak.random_project = lambda *_, **__: lambda rows, ensemble_id: rows @ projection.T
    attributor = TRAKAttributor(
        linear_task(sizes),
        correct_probability_func=lambda _, data: data[1],
        regularization=damping,
    )
    train = loader(tensors["train"], tensors["likelihoods"].flatten())
    queries = loader(tensors["queries"], torch.zeros(len(tensors["queries"])))
    attributor.cache(train)
    with torch.no_grad():
        return attributor.attribute(queries).T


def data_inf(sizes, tensors, damping):
    attributor = IFAttributorDataInf(linear_task(sizes), regularization=damping)
    train = loader(tensors["train"])
    attributor.cache(train)
    with torch.no_grad():
        return attributor.attribute(train, loader(tensors["queries"])).T


def ek_fac(shapes, tensors, damping, corrected=True):
    shipped = dattri_fisher.estimate_eigenvector
    if corrected:
        dattri_fisher.estimate_eigenvector = lambda covariances: {
            name: tuple(vectors.T.contiguous() for vectors in pair)
            for name, pair in shipped(covariances).items()
        }
    try:
        return ek_fac_of(shapes, tensors, damping)
    finally:
        dattri_fisher.estimate_eigenvector = shipped


def ek_fac_of(shapes, tensors, damping):
    model = Layers(shapes)

    def loss(params, data):
        return torch.func.functional_call(model, params, data).mean()

    def rows(kind):
        names = [f"layer.{i}.{kind}.{side}" for i in range(len(shapes)) for side in ("inputs", "outputs")]
        return loader(*[tensors[name] for name in names])

    attributor = IFAttributorEKFAC(AttributionTask(loss, model, model.state_dict()), damping=damping)
    attributor.cache(rows("train"))
    with torch.no_grad():
        return attributor.attribute(rows("train"), rows("queries")).T


def main():
    folder = Path(sys.argv[1])
    tensors = load_file(folder / "tensors.safetensors")
    settings = json.loads((folder / "settings.json").read_text())
    sizes, shapes = settings["blocks"], settings["layers"]
    steps = [
        rate * tracin(sizes, tensors[f"checkpoint.{i}.train"], tensors[f"checkpoint.{i}.queries"])
        for i, rate in enumerate(settings["rates"])
    ]
    peers = {
        "GradDot": tracin(sizes, tensors["train"], tensors["queries"]),
        "GradCos": tracin(sizes, tensors["train"], tensors["queries"], normalized=True),
        "TracIn": sum(steps),
        "DataInf": data_inf(sizes, tensors, settings["data_inf_damping"]),
        "TRAK": trak(sizes, tensors, settings["trak_damping"]),
        "EK-FAC": ek_fac(shapes, tensors, settings["ek_fac_damping"]),
        SHIPPED: ek_fac(shapes, tensors, settings["ek_fac_damping"], corrected=False),
    }
    print(f"{len(tensors['train'])} records, {len(tensors['queries'])} answers, {sum(sizes)} numbers")
    print("| method | largest score | largest difference | relative |")
    print("|---|---|---|---|")
    worst = 0.0
    for name, peer in peers.items():
        ours = tensors["ours." + name.split(",")[0]]
        assert ours.shape == peer.shape, f"{name}: {ours.shape} and {peer.shape}"
        size, difference = peer.abs().max().item(), (ours - peer).abs().max().item()
        print(f"| {name} | {size:.4g} | {difference:.2g} | {difference / size:.1e} |")
        if name != SHIPPED:
            worst = max(worst, difference / size)
    assert worst <= LIMIT, f"relative difference {worst:.1e} is above {LIMIT:.0e}"
    print(f"all within {LIMIT:.0e}")


if __name__ == "__main__":
    main()
