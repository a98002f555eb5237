"""Decoding with many adapters under llama.cpp (llama-cpp-python), on what the driver wrote.

Usage: llama_serving.py FOLDER logits
       llama_serving.py FOLDER KIND THREADS PLAN, with KIND llama-f16 or llama-q8 and PLAN as JSON.

The first prints the logits after the first prompt for the base and each adapter, in f32. The second prints seconds
of each answer by "batch/distinct", 0 distinct for the base alone. Both print one line of JSON.

One call of llama_decode has one set of adapters, and llama.cpp's server batches requests by it. So a step is one call
for each distinct adapter, over the rows that share it.
"""

import ctypes
import json
import pathlib
import sys
import time

import gguf
import llama_cpp as lib
import numpy as np

folder = pathlib.Path(sys.argv[1])
prompts = json.loads((folder / "prompts.json").read_text())
FOLDERS = 32
TYPES = {
    "f32": (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
SITES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def tensors(path):
    """Name and values in f32 of each tensor of a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        raw = data[8 + length + start : 8 + length + end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype("<f4")
        yield name, values.reshape(entry["shape"])


def interleaved(values, heads):
    """Rows of each head in the order in which GGUF's llama turns them: pairs are neighbours."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def heads_of(config, site):
    if site == "attn_q":
        return config["num_attention_heads"]
    return config["num_key_value_heads"] if site == "attn_k" else None


def add(writer, name, values, kind):
    quantised = gguf.quants.quantize(np.ascontiguousarray(values), kind)
    writer.add_tensor(name, quantised, raw_dtype=kind)


def write_base(path, kind):
    config = json.loads((folder / "base" / "config.json").read_text())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config.get("head_dim") or hidden // heads)
    rope = config.get("rope_parameters") or config
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(TYPES[kind][1])
    matrix, vector = TYPES[kind][0], gguf.GGMLQuantizationType.F32
    for file in sorted((folder / "base").glob("*.safetensors")):
        for name, values in tensors(file):
            if name == "model.norm.weight":
                add(writer, "output_norm.weight", values, vector)
            elif name in ("model.embed_tokens.weight", "lm_head.weight"):
                to = "output.weight" if name.startswith("lm_head") else "token_embd.weight"
                add(writer, to, values, matrix)
            else:
                _, _, layer, rest = name.split(".", 3)
                rest = rest.removesuffix(".weight")
                if rest in NORMS:
                    add(writer, f"blk.{layer}.{NORMS[rest]}.weight", values, vector)
                    continue
                site = SITES[rest]
                if count := heads_of(config, site):
                    values = interleaved(values, count)
                add(writer, f"blk.{layer}.{site}.weight", values, matrix)
    finish(writer)


def write_adapter(path, number, kind):
    config = json.loads((folder / "base" / "config.json").read_text())
    source = folder / f"adapter-{number}"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", json.loads((source / "adapter_config.json").read_text())["lora_alpha"])
    for name, values in tensors(source / "adapter_model.safetensors"):
        layer, rest = name.split("layers.")[1].split(".", 1)
        rest, half = rest.removesuffix(".weight").rsplit(".", 1)
        site = SITES[rest]
        if half == "lora_B" and (count := heads_of(config, site)):
            values = interleaved(values, count)
        add(writer, f"blk.{layer}.{site}.weight.{half.lower()}", values, TYPES[kind][0])
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Engine:
    def __init__(self, kind, threads, batch, length):
        self.base = folder / f"base-{kind}.gguf"
        if not self.base.exists():
            write_base(self.base, kind)
        # Adapters of eight bits have not been tried.
        adapter_kind = "f32" if kind == "f32" else "f16"
        self.model = lib.llama_model_load_from_file(str(self.base).encode(), lib.llama_model_default_params())
        assert self.model, "the base could not be loaded"
        self.adapters = []
        for number in range(FOLDERS):
            path = folder / f"adapter-{number}-{adapter_kind}.gguf"
            if not path.exists():
                write_adapter(path, number, adapter_kind)
            self.adapters.append(lib.llama_adapter_lora_init(self.model, str(path).encode()))
            assert self.adapters[-1], "an adapter could not be loaded"
        params = lib.llama_context_default_params()
        params.n_ctx = batch * length
        params.n_seq_max = batch
        params.n_batch = params.n_ubatch = max(512, batch)
        params.n_threads = params.n_threads_batch = threads
        # One buffer for all sequences: 103 tokens/s instead of 95 with 32 adapters, the same without.
        params.kv_unified = True
        params.no_perf = True
        self.context = lib.llama_init_from_model(self.model, params)
        assert self.context, "no context"
        self.memory = lib.llama_get_memory(self.context)
        self.vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self.batch = lib.llama_batch_init(params.n_batch, 0, 1)

    def adapt(self, number):
        if number is None:
            code = lib.llama_set_adapters_lora(self.context, None, 0, None)
        else:
            adapters = (lib.llama_adapter_lora_p_ctypes * 1)(self.adapters[number])
            code = lib.llama_set_adapters_lora(self.context, adapters, 1, (ctypes.c_float * 1)(1.0))
        assert code == 0, "the adapter was not set"

    def decode(self, rows):
        """One call over (token, position, sequence, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
        code = lib.llama_decode(self.context, batch)
        assert code == 0, f"llama_decode: {code}"

    def logits(self, row):
        return np.ctypeslib.as_array(lib.llama_get_logits_ith(self.context, row), (self.vocab,))

    def read(self, sequence):
        """Reads a prompt; returns the likeliest next token."""
        prompt = prompts[sequence]
        self.decode([(t, i, sequence, i + 1 == len(prompt)) for i, t in enumerate(prompt)])
        return int(self.logits(len(prompt) - 1).argmax())

    def answer(self, first, distinct, steps):
        """Seconds of `steps` greedy tokens in every row, after the prompts were read."""
        count, before = len(first), len(prompts[0])
        groups = {}
        for row in range(count):
            groups.setdefault(row * distinct // count if distinct else None, []).append(row)
        tokens = list(first)
        start = time.perf_counter()
        for step in range(steps):
            for adapter, rows in groups.items():
                self.adapt(adapter)
                self.decode([(tokens[row], before + step, row, True) for row in rows])
                # Rows of outputs lie side by side in the order of the call.
                outputs = np.ctypeslib.as_array(lib.llama_get_logits(self.context), (len(rows), self.vocab))
                for row, token in zip(rows, outputs.argmax(-1).tolist()):
                    tokens[row] = token
        seconds = time.perf_counter() - start
        for row in range(count):
            assert lib.llama_memory_seq_rm(self.memory, row, before, -1)
        return seconds


def all_logits():
    engine = Engine("f32", 1, 1, 128)
    found = []
    for adapter in [None, *range(FOLDERS)]:
        lib.llama_memory_clear(engine.memory, True)
        engine.adapt(adapter)
        engine.read(0)
        found.append(engine.logits(len(prompts[0]) - 1).tolist())
    return found


def measure(kind, threads, plan):
    measured = {}
    counts = [n for n in plan["distinct"] if n <= FOLDERS]
    for batch in plan["batches"]:
        engine = Engine(kind, threads, batch, len(prompts[0]) + 2 * plan["answer"])
        engine.adapt(None)
        first = [engine.read(row) for row in range(batch)]
        for turn in range(plan["answers"] // 4 + 2):
            for distinct in [0] + [n for n in counts if n <= batch]:
                seconds = engine.answer(first, distinct, plan["answer"])
                if turn:
                    measured.setdefault(f"{batch}/{distinct}", []).append(seconds)
    return measured


quiet = lib.llama_log_callback(lambda level, text, data: None)
lib.llama_log_set(quiet, None)
lib.llama_backend_init()
if sys.argv[2] == "logits":
    print(json.dumps(all_logits()))
else:
    print(json.dumps(measure(sys.argv[2].removeprefix("llama-"), int(sys.argv[3]), json.loads(sys.argv[4]))))
