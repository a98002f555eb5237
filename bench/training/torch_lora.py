"""LoRA steps in PyTorch and in PEFT, at the shape and on the tokens that the driver wrote.

Usage: torch_lora.py KIND THREADS WARMUP STEPS FOLDER, with KIND one of torch-f32, torch-bf16, peft-f32,
peft-bf16. Prints one line of JSON: seconds of each measured step, CPU seconds of all of them, losses, peak
memory.

torch-*: the decoder by hand, as a careful user would write it for speed: base products of one input fused
as ours are, scaled_dot_product_attention, frozen weights kept in the precision of the run, adapters in f32.
peft-*: LlamaForCausalLM of Transformers under get_peft_model.
"""

import json
import math
import resource
import sys
import time

import torch
import torch.nn.functional as F

kind, threads, warmup, steps, folder = sys.argv[1:6]
torch.set_num_threads(int(threads))
torch.manual_seed(0)
with open(f"{folder}/job.json", encoding="utf-8") as file:
    job = json.load(file)
dtype = torch.bfloat16 if kind.endswith("bf16") else torch.float32
tokens = torch.tensor(job["tokens"])
rank, alpha = job["rank"], job["alpha"]


class Lora(torch.nn.Module):
    """Fused base product of several outputs, and one low-rank update for each."""

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weight", torch.cat(weights).to(dtype))
        inputs = weights[0].shape[1]
        self.a = torch.nn.Parameter((torch.rand(len(weights) * rank, inputs) * 2 - 1) / math.sqrt(inputs))
        self.b = torch.nn.ParameterList(torch.zeros(w.shape[0], rank) for w in weights)

    def forward(self, x):
        low = F.linear(x, self.a.to(dtype)) * (alpha / rank)
        parts = low.split(rank, dim=-1)
        update = [F.linear(u, b.to(dtype)) for u, b in zip(parts, self.b)]
        return F.linear(x, self.weight) + (update[0] if len(update) == 1 else torch.cat(update, -1))


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Decoder(torch.nn.Module):
    """Llama with adapters on every linear layer."""

    def __init__(self, config, w):
        super().__init__()
        self.heads, self.eps = config["num_attention_heads"], config["rms_norm_eps"]
        self.hidden = config["hidden_size"]
        self.dim = self.hidden // self.heads
        at = lambda i, part: w[f"model.layers.{i}.{part}.weight"].float()
        pick = lambda i, parts: Lora([at(i, part) for part in parts])
        layers = range(config["num_hidden_layers"])
        self.qkv = torch.nn.ModuleList(pick(i, [f"self_attn.{p}_proj" for p in "qkv"]) for i in layers)
        self.output = torch.nn.ModuleList(pick(i, ["self_attn.o_proj"]) for i in layers)
        self.gate_up = torch.nn.ModuleList(pick(i, ["mlp.gate_proj", "mlp.up_proj"]) for i in layers)
        self.down = torch.nn.ModuleList(pick(i, ["mlp.down_proj"]) for i in layers)
        self.first = [at(i, "input_layernorm").to(dtype) for i in layers]
        self.second = [at(i, "post_attention_layernorm").to(dtype) for i in layers]
        self.norm = w["model.norm.weight"].to(dtype)
        self.embedding = w["model.embed_tokens.weight"].to(dtype)
        frequencies = config["rope_theta"] ** (-torch.arange(0, self.dim, 2).float() / self.dim)
        angles = torch.outer(torch.arange(tokens.shape[1] - 1).float(), frequencies).repeat(1, 2)
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def forward(self, x):
        batch, length = x.shape
        normed = lambda x, weight: F.rms_norm(x, (self.hidden,), weight, self.eps)
        split = lambda x: x.view(batch, length, self.heads, self.dim).transpose(1, 2)
        x = F.embedding(x, self.embedding)
        for i, qkv in enumerate(self.qkv):
            q, k, v = map(split, qkv(normed(x, self.first[i])).chunk(3, -1))
            q, k = turn(q, self.cos, self.sin), turn(k, self.cos, self.sin)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.output[i](y.transpose(1, 2).reshape(batch, length, self.hidden))
            gate, up = self.gate_up[i](normed(x, self.second[i])).chunk(2, -1)
            x = x + self.down[i](F.silu(gate) * up)
        return F.linear(normed(x, self.norm), self.embedding)


def by_hand():
    from safetensors.torch import load_file

    with open(f"{folder}/base/config.json", encoding="utf-8") as file:
        config = json.load(file)
    return Decoder(config, load_file(f"{folder}/base/model.safetensors"))


def by_peft():
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    base = LlamaForCausalLM.from_pretrained(f"{folder}/base", dtype=dtype, attn_implementation="sdpa")
    sites = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=sites, task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    model.config.use_cache = False
    return model


model = by_peft() if kind.startswith("peft") else by_hand()
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=job["learning_rate"], weight_decay=0.0, foreach=True)
inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].reshape(-1)
autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "peft-bf16")
seconds, losses, cpu = [], [], 0.0
for step in range(int(warmup) + int(steps)):
    start, before = time.perf_counter(), time.process_time()
    with autocast:
        logits = model(inputs) if kind.startswith("torch") else model(input_ids=inputs).logits
    loss = F.cross_entropy(logits.view(-1, logits.shape[-1]).float(), targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    losses.append(loss.item())
    if step >= int(warmup):
        seconds.append(time.perf_counter() - start)
        cpu += time.process_time() - before
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "losses": losses, "peak_bytes": peak}))
