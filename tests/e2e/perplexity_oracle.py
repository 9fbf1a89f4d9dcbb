"""perplexity against a forward pass in float64 that shares nothing with ours: numpy, from the files on. The oracle itself
is held against the golden logits first. Needs: numpy, pytest, the binary (TANDEM_BUILD names its folder)."""

import json
import math
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

np = pytest.importorskip("numpy")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("TANDEM_BUILD", ROOT / "build" / "release")) / "tandem"
LLAMA = ROOT / "tests" / "golden" / "tiny" / "llama"
ENV = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
BOS = 1


def tensors(path):
    data = path.read_bytes()
    size, = struct.unpack("<Q", data[:8])
    out = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            out[name] = np.frombuffer(data[8 + size + begin:8 + size + end], "<f4").reshape(t["shape"]).astype(np.float64)
    return out


class Llama:
    """The published architecture, one sequence, all positions at once."""

    def __init__(self, folder):
        self.c = json.loads((folder / "config.json").read_text())
        self.w = tensors(folder / "model.safetensors")

    def frequencies(self):
        r, dim = self.c["rope_parameters"], self.c["head_dim"]
        f = r["rope_theta"] ** (-np.arange(0, dim, 2) / dim)
        turns = r["original_max_position_embeddings"] * f / (2 * np.pi)
        low, high = r["low_freq_factor"], r["high_freq_factor"]
        blend = np.clip((turns - low) / (high - low), 0, 1)
        return f * blend + f / r["factor"] * (1 - blend)

    def rotate(self, x):  # [token][head][dim]
        angle = np.arange(len(x))[:, None, None] * self.frequencies()
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=-1)

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name]

    def attention(self, x, name):
        heads, kv, dim, n = (self.c["num_attention_heads"], self.c["num_key_value_heads"], self.c["head_dim"], len(x))
        q, k, v = (x @ self.w[f"{name}{p}_proj.weight"].T for p in "qkv")
        q = self.rotate(q.reshape(n, heads, dim))
        k = np.repeat(self.rotate(k.reshape(n, kv, dim)), heads // kv, axis=1)
        v = np.repeat(v.reshape(n, kv, dim), heads // kv, axis=1)
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(dim)
        scores[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", p, v).reshape(n, -1) @ self.w[f"{name}o_proj.weight"].T

    def logits(self, ids):
        x = self.w["model.embed_tokens.weight"][ids]
        for i in range(self.c["num_hidden_layers"]):
            layer = f"model.layers.{i}."
            x = x + self.attention(self.norm(x, layer + "input_layernorm.weight"), layer + "self_attn.")
            y = self.norm(x, layer + "post_attention_layernorm.weight")
            gate, up = (y @ self.w[f"{layer}mlp.{p}_proj.weight"].T for p in ("gate", "up"))
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.w[layer + "mlp.down_proj.weight"].T
        return self.norm(x, "model.norm.weight") @ self.w["model.embed_tokens.weight"].T


@pytest.fixture(scope="module")
def oracle():
    return Llama(LLAMA)


def test_the_oracle_gives_the_golden_logits(oracle):
    for case in json.loads((LLAMA / "golden.json").read_text())["cases"]:
        rows = oracle.logits(case["prompt"])[case["positions"]]
        assert np.abs(rows - np.array(case["logits"])).max() < 1e-5  # its rope tables were float32


def letters(ids):
    return "".join(chr(0x4E00 + i) for i in ids)


def model(folder, add_bos):
    """The golden checkpoint with a tokenizer of one character a token, so that a text is any ids one likes."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(LLAMA / name, folder / name)
    added = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, c in ((0, "<pad>"), (BOS, "<s>"), (2, "</s>"))]
    vocab = {"<pad>": 0, "<s>": BOS, "</s>": 2} | {chr(0x4E00 + i): i for i in range(3, 512)}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    post = {"type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, text],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": None,
        "post_processor": post if add_bos else None, "decoder": None,
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "dropout": None}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "add_bos_token": add_bos, "bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def expected(oracle, ids, ctx, chunks, add_bos):
    """The definition, read literally: windows of ctx tokens side by side; BOS in the place of each window's first token;
    tokens ctx/2+1 … ctx-1 of each window are scored, each given all before it in the window."""
    nll = []
    for at in range(0, chunks * ctx, ctx):
        window = list(ids[at:at + ctx])
        seen = [BOS] + window[1:] if add_bos else window
        rows = oracle.logits(seen)
        rows = rows - rows.max(axis=-1, keepdims=True)
        logp = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
        nll += [-logp[i, window[i + 1]] for i in range(ctx // 2, ctx - 1)]
    mean = sum(nll) / len(nll)
    spread = math.sqrt(sum(v * v for v in nll) / len(nll) - mean * mean) / math.sqrt(len(nll) - 1)
    return mean, spread, len(nll)


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("ctx, tokens, words", [(4, 8, []), (9, 40, []), (64, 300, []), (64, 300, ["--chunks", "2"]),
                                                (64, 300, ["--max-num-batched-tokens", "16"])])
def test_perplexity(oracle, tmp_path, add_bos, ctx, tokens, words):
    ids = [3 + (7919 * i * i + 31 * i) % 509 for i in range(tokens)]
    (tmp_path / "text").write_text(letters(ids))
    done = subprocess.run([str(BINARY), "perplexity", str(model(tmp_path, add_bos)), "-f", str(tmp_path / "text"), "-c",
                           str(ctx), "--kv-cache-memory", "16MiB", *words], capture_output=True, text=True, env=ENV)
    assert done.returncode == 0, done.stderr
    all_ids = ([BOS] if add_bos else []) + ids
    chunks = 2 if "--chunks" in words else len(all_ids) // ctx
    mean, spread, count = expected(oracle, all_ids, ctx, chunks, add_bos)
    said = done.stdout.replace("(", " ").split()  # perplexity X +/- Y mean nll M over N tokens)
    assert said[0] == "perplexity" and int(said[8]) == count
    assert abs(float(said[6]) - mean) < 2e-6
    assert abs(float(said[1]) / math.exp(mean) - 1) < 1e-4
    assert abs(float(said[3]) / (spread * math.exp(mean)) - 1) < 1e-3
    assert done.stderr.count("\n") >= chunks
