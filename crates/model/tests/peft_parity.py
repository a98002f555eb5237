"""Do Hugging Face transformers and PEFT compute what OpenLedger computes?

Loads the base in `models/nano` with transformers and an adapter with PEFT, and compares their logits with
those of `cargo run --release -p openledger-model --example logits`. The adapter is one that PEFT itself
made, with random weights, so that reading their file format is tested too; `--adapter DIR` compares another one, for
example one that OpenLedger trained.

Exit code 0: equal within the tolerance. 1: not. 77: torch, transformers or peft is not installed.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
CARGO = "cargo run --quiet --release -p openledger-model --example logits --"
PROMPTS = [
    "List all files in a directory (ls)",
    "Weng earns $12 an hour for babysitting. How much does she earn in 50 minutes?",
    "naïve café 東京 <|end|> is typed, not a control token",
]
NOT_INSTALLED = 77

try:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ModuleNotFoundError as missing:
    print(f"peft_parity.py: {missing}; parity/requirements.txt names the packages", file=sys.stderr)
    sys.exit(NOT_INSTALLED)


def rust_logits(program, base, adapter, prompt):
    """{"tokens": [...], "logits": [[...] per position]} as OpenLedger sees them."""
    command = [*program, "--base", str(base), "--prompt", prompt]
    if adapter:
        command += ["--adapter", str(adapter)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def random_adapter(base, folder):
    """An adapter of rank 8 on all linear layers whose B is not zero.

    OpenLedger holds adapters in bf16, so its values are chosen among those: what is compared is arithmetic.
    """
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
        if "lora_" in name:
            weight.data.copy_(weight.data.bfloat16())
    model.save_pretrained(folder)


def compare(program, base, adapter, tokenizer):
    """Largest absolute difference of a logit over all prompts, and of the same token sequences."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False).float()
    model.eval()
    worst, spread = 0.0, 0.0
    for prompt in PROMPTS:
        ours = rust_logits(program, base, adapter, prompt)
        if "<|" not in prompt:
            theirs = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
            )
            assert ours["tokens"] == theirs, f"tokens differ for {prompt!r}: {ours['tokens']} and {theirs}"
        with torch.no_grad():
            expected = model(torch.tensor([ours["tokens"]])).logits[0].double()
        found = torch.tensor(ours["logits"], dtype=torch.float64)
        assert found.shape == expected.shape, f"{found.shape} and {expected.shape}"
        worst = max(worst, (found - expected).abs().max().item())
        spread = max(spread, expected.abs().max().item())
    return worst, spread


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--base", type=pathlib.Path, default=ROOT / "models/nano")
    arguments.add_argument("--adapter", type=pathlib.Path)
    arguments.add_argument("--program", default=CARGO, help="prints our logits")
    arguments.add_argument("--tolerance", type=float, default=2e-4)
    arguments = arguments.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.base)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        adapter = arguments.adapter
        if adapter is None:
            adapter = pathlib.Path(folder)
            random_adapter(arguments.base, adapter)
        for label, which in [("base", None), ("base with adapter", adapter)]:
            worst, spread = compare(arguments.program.split(), arguments.base, which, tokenizer)
            failed |= worst > arguments.tolerance
            print(f"{label}: largest difference {worst:.2e}, largest logit {spread:.2f}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
