"""Does the hand-written backward pass give the gradients of PyTorch's automatic differentiation?

Runs `cargo run --release -p openledger-model --example gradients`, which writes a tiny random model, an adapter and
the gradients of a ragged batch, and computes the same with transformers and autograd, once for all weights and
once for the adapter over the frozen base. The files are in bf16, so equal means within 2**-8.

Exit code 0: equal. 1: not. 77: skipped, torch, transformers or safetensors is not installed.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
SKIPPED = 77

try:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM
except ImportError as missing:
    print(f"SKIPPED autograd.py: {missing}. To run it: pip install torch transformers", file=sys.stderr)
    sys.exit(SKIPPED)


def loss_of(model, sequences):
    total = 0.0
    for s in sequences:
        tokens = torch.tensor(s["tokens"])
        logits = model(tokens[None, :-1]).logits[0]
        ln_p = torch.log_softmax(logits, -1)[torch.arange(len(tokens) - 1), tokens[1:]]
        total = total - s["weight"] * ln_p[s["answer_start"] - 1 :].sum()
    return total


def differences(ours, theirs):
    """The largest difference of each tensor relative to its largest gradient."""
    assert ours.keys() == theirs.keys(), ours.keys() ^ theirs.keys()
    for name, gradient in theirs.items():
        size = gradient.abs().max().item()
        assert size > 0, name
        yield (ours[name].float() - gradient).abs().max().item() / size, name


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        command = ["cargo", "run", "--quiet", "--release", "-p", "openledger-model", "--example", "gradients", "--"]
        subprocess.run(command + [str(folder)], cwd=ROOT, check=True)
        batch = json.loads((folder / "batch.json").read_text())
        model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
        base_gradients = load_file(folder / "base-gradients" / "model.safetensors")
        adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
        adapter_gradients = load_file(folder / "adapter-gradients" / "adapter_model.safetensors")
        settings = json.loads((folder / "adapter" / "adapter_config.json").read_text())

    # transformers would leave the padding token, here an ordinary one, out of the gradient.
    model.get_input_embeddings().padding_idx = None
    loss = loss_of(model, batch["sequences"])
    loss.backward()
    theirs = {name: p.grad for name, p in model.named_parameters()}
    worst = [max(differences(base_gradients, theirs))]
    losses = [(batch["loss"], loss.item())]

    model.requires_grad_(False)
    scale = settings["lora_alpha"] / settings["r"]
    values = {name: x.float().requires_grad_() for name, x in adapter.items()}
    for name, module in model.named_modules():
        a, b = (values.get(f"base_model.model.{name}.lora_{part}.weight") for part in "AB")
        if a is not None:
            module.register_forward_hook(lambda _, x, y, a=a, b=b: y + scale * (x[0] @ a.T) @ b.T)
    loss = loss_of(model, batch["sequences"])
    loss.backward()
    worst.append(max(differences(adapter_gradients, {name: x.grad for name, x in values.items()})))
    losses.append((batch["adapted_loss"], loss.item()))

    good = all(w < 2**-8 for w, _ in worst) and all(abs(a - b) < 1e-5 * abs(b) for a, b in losses)
    for what, (difference, name), (ours, torchs) in zip(["all weights", "adapter"], worst, losses):
        print(f"{what}: loss {ours:.6f} and {torchs:.6f}, largest relative difference {difference:.2e} in {name}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
