"""Decoding with many adapters in one batch under PEFT, on what the driver wrote.

Usage: peft_serving.py FOLDER logits
       peft_serving.py FOLDER KIND THREADS PLAN, with KIND peft-f32 or peft-bf16 and PLAN as JSON.

The first prints the logits after the first prompt for the base and each adapter, in f32. The second prints seconds
of each answer by "batch/distinct", 0 distinct for the base alone. Both print one line of JSON.
"""

import json
import pathlib
import sys
import time

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

folder = pathlib.Path(sys.argv[1])
prompts = torch.tensor(json.loads((folder / "prompts.json").read_text()))
FOLDERS = 32


def load(dtype, adapters):
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype).eval()
    for i in range(adapters):
        path, name = folder / f"adapter-{i}", f"adapter-{i}"
        if i == 0:
            model = PeftModel.from_pretrained(model, path, adapter_name=name, autocast_adapter_dtype=False)
        else:
            model.load_adapter(path, adapter_name=name, autocast_adapter_dtype=False)
    return model.to(dtype).eval()


@torch.inference_mode()
def logits():
    model = load(torch.float32, FOLDERS)
    with model.disable_adapter():
        rows = [model(prompts[:1]).logits[0, -1].tolist()]
    for i in range(FOLDERS):
        model.set_adapter(f"adapter-{i}")
        rows.append(model(prompts[:1]).logits[0, -1].tolist())
    return rows


@torch.inference_mode()
def answer(model, batch, distinct, steps):
    """Seconds of `steps` greedy tokens in every row, after the prompts were read."""
    extra = {}
    if distinct:
        extra["adapter_names"] = [f"adapter-{row * distinct // batch}" for row in range(batch)]
    out = model(prompts[:batch], use_cache=True, logits_to_keep=1, **extra)
    cache, tokens = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
    start = time.perf_counter()
    for _ in range(steps):
        out = model(tokens, past_key_values=cache, use_cache=True, **extra)
        cache, tokens = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
    return time.perf_counter() - start


def measure(kind, threads, plan):
    torch.set_num_threads(int(threads))
    dtype = torch.bfloat16 if kind.endswith("bf16") else torch.float32
    # The base alone is measured without PEFT around it: its best.
    base, adapted = load(dtype, 0), load(dtype, FOLDERS)
    counts = [n for n in plan["distinct"] if n <= FOLDERS]
    measured = {}
    for batch in plan["batches"]:
        for turn in range(plan["answers"] // 4 + 2):
            for distinct in [0] + [n for n in counts if n <= batch]:
                model = adapted if distinct else base
                seconds = answer(model, batch, distinct, plan["answer"])
                if turn:
                    measured.setdefault(f"{batch}/{distinct}", []).append(seconds)
    return measured


if sys.argv[2] == "logits":
    print(json.dumps(logits()))
else:
    print(json.dumps(measure(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))))
