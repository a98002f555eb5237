"""Do the families compute what Hugging Face transformers and PEFT compute?

For each family a model with random weights and a few layers, whose windows are shorter than the text:

- `--vectors` writes `<case>.json` beside this script: the config, a text and some of its logits. The weights come
  from the names of the tensors (`weights_of`), so they are not stored. `cargo test` compares with these.
- without it, writes whole folders in several files, with weights of torch's own start and an adapter of PEFT
  with a rank and an alpha per module, and compares the logits of
  `cargo run --release -p openledger-model --example logits` with those of transformers.

Exit code 0: equal within the tolerance. 1: not. 77: torch, transformers or peft is not installed.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[4]
HERE = pathlib.Path(__file__).resolve().parent
CARGO = "cargo run --quiet --release -p openledger-model --example logits --"
NOT_INSTALLED = 77
TOKENS = 40
VOCABULARY = 96
POSITIONS = [0, 7, 8, 20, 39]
# The largest difference of a logit that passes, relative to the largest logit: both sides compute in f32.
TOLERANCE = 2e-5

try:
    import numpy
    import torch
    import transformers
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM
except ModuleNotFoundError as missing:
    print(f"families.py: {missing}; parity/requirements.txt names the packages", file=sys.stderr)
    sys.exit(NOT_INSTALLED)

SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=None,
)
GEMMA = SHAPE | dict(hidden_size=72, head_dim=20, num_hidden_layers=4, sliding_window=8, query_pre_attn_scalar=30)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
CASES = {
    "llama": ("Llama", SHAPE | dict(rope_parameters=LLAMA3 | dict(original_max_position_embeddings=32))),
    "llama_biases": ("Llama", SHAPE | dict(attention_bias=True, mlp_bias=True, head_dim=24)),
    "smollm2": ("Llama", SHAPE | dict(num_attention_heads=9, num_key_value_heads=3, hidden_size=72,
                                      tie_word_embeddings=True, rms_norm_eps=1e-5)),
    "qwen2": ("Qwen2", SHAPE | dict(use_sliding_window=True, sliding_window=8, max_window_layers=1)),
    "qwen3": ("Qwen3", SHAPE | dict(head_dim=24, tie_word_embeddings=True,
                                    rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
    "gemma2": ("Gemma2", GEMMA | dict(attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
    "gemma3": ("Gemma3Text", GEMMA | dict(
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1000000.0),
            sliding_attention=dict(rope_type="default", rope_theta=10000.0),
        ),
    )),
}


# Compared as whole folders alone: what differs from a case above is numbers in the config.
MORE_CASES = {
    "qwen2.5": ("Qwen2", SHAPE | dict(tie_word_embeddings=True, rms_norm_eps=1e-6,
                                      rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
}


def config_of(case):
    name, settings = (CASES | MORE_CASES)[case]
    config = getattr(transformers, f"{name}Config")(**settings)
    config._attn_implementation = "eager"
    return config


def weights_of(name, shape, norm_centre):
    """Numbers from a tensor's name: the same in Rust (`tests/it/families.rs`)."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    count = int(numpy.prod(shape))
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(seed) + numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    unit = (z >> numpy.uint64(40)).astype(numpy.float64) / 2**23 - 1.0
    if name.endswith("norm.weight"):
        values = norm_centre + 0.25 * unit
    elif name.endswith(".bias"):
        values = 0.5 * unit
    else:
        values = unit * numpy.sqrt(3.0 / shape[-1]) * (1.5 if "proj" in name else 8.0 if "lm_head" in name else 1.0)
    return torch.tensor(values.astype(numpy.float32)).reshape(shape).bfloat16().float()


def text():
    return [int(i * i * 7 + i * 3 + 5) % VOCABULARY for i in range(TOKENS)]


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor([text()])).logits[0]


def write_vectors():
    for case in CASES:
        config = config_of(case)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        centre = 0.0 if case.startswith("gemma") else 1.0
        for name, weight in model.named_parameters():
            weight.data.copy_(weights_of(name, tuple(weight.shape), centre))
        logits = logits_of(model)
        config.architectures = [type(model).__name__]
        content = dict(
            config=json.loads(config.to_json_string()),
            tokens=text(),
            positions=POSITIONS,
            logits=[[float(f"{x:.7g}") for x in logits[i].tolist()] for i in POSITIONS],
        )
        (HERE / f"{case}.json").write_text(json.dumps(content, separators=(",", ":")).replace("],[", "],\n[") + "\n")
        print(f"{case}: largest logit {logits.abs().max():.3f}")


def start(model):
    """Weights and norms that show, in bf16 so that a file in bf16 loses nothing."""
    torch.manual_seed(11)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            weight.data.add_(torch.randn_like(weight) * 0.1)
        else:
            weight.data.normal_(std=0.12)
        weight.data.copy_(weight.data.bfloat16())
    return model


def adapter_of(model, folder):
    """Ranks and alphas per module, half of the modules, rank-stabilised, one layer left out."""
    settings = LoraConfig(
        r=5,
        lora_alpha=7,
        target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
        rank_pattern={"q_proj": 3, "layers.1.mlp.up_proj": 11},
        alpha_pattern={"v_proj": 13, "layers.2.mlp.down_proj": 4},
        layers_to_transform=[1, 2],
        use_rslora=True,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, settings)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.1)
            weight.data.copy_(weight.data.bfloat16())
    adapted.save_pretrained(folder)


def our_logits(program, base, adapter=None):
    command = [*program, "--base", str(base), "--tokens", ",".join(map(str, text()))]
    command += ["--adapter", str(adapter)] if adapter else []
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return torch.tensor(json.loads(out)["logits"])


def with_pictures():
    """A `gemma3` folder: the text model inside a model that sees pictures too."""
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28,
                  patch_size=14)
    config = transformers.Gemma3Config(text_config=config_of("gemma3").to_dict(), vision_config=vision,
                                       mm_tokens_per_image=4, image_token_index=VOCABULARY - 1)
    config._attn_implementation = "eager"
    return transformers.Gemma3ForConditionalGeneration(config).float()


def compare(program):
    failed = False

    def check(label, ours, theirs):
        nonlocal failed
        size = theirs.abs().max().item()
        apart = (ours - theirs).abs().max().item() / size
        failed |= not apart <= TOLERANCE
        print(f"{label}: largest difference {apart:.1e} of the largest logit {size:.2f}")

    for case in [*CASES, *MORE_CASES, "gemma3 with pictures"]:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            pictures = case == "gemma3 with pictures"
            model = with_pictures() if pictures else AutoModelForCausalLM.from_config(config_of(case))
            model = start(model.float().eval())
            model.save_pretrained(folder / "base", max_shard_size="90KB")
            assert len(list((folder / "base").glob("*.safetensors"))) > 1, "not in several files"
            check(case, our_logits(program, folder / "base"), logits_of(model))
            if not pictures:
                adapter_of(model, folder / "adapter")
                base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32,
                                                            attn_implementation="eager")
                adapted = PeftModel.from_pretrained(base, folder / "adapter", autocast_adapter_dtype=False)
                check(f"{case} with an adapter", our_logits(program, folder / "base", folder / "adapter"),
                      logits_of(adapted.float().eval()))
    return failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--vectors", action="store_true", help="write the committed vectors")
    arguments.add_argument("--program", default=CARGO, help="prints our logits")
    arguments = arguments.parse_args()
    if arguments.vectors:
        return write_vectors()
    return 1 if compare(arguments.program.split()) else 0


if __name__ == "__main__":
    sys.exit(main())
