"""Byte-level BPE from GGUF files, by the names in tokenizer.ggml.pre, against the reference library.

One small vocabulary is trained with `tokenizers` and written as a GGUF for each name; the oracle is the same vocabulary
behind the pre-tokenizer that the model family's own tokenizer.json has. Where the vocabulary-only GGUF files of
llama.cpp with their expected ids are at hand (TANDEM_VOCABS names the folder), those are run too.
Needs: pip tokenizers, pytest."""

import glob
import importlib.util
import json
import os
import shutil
import struct

import pytest

from tokenizer_oracle import CORPUS, LLAMA3, O200K, run, texts

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
MARKED = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+")
CJK = "[一-龥぀-ゟ゠-ヿ]+"

# name: patterns applied in turn, and whether a word that is an entry is taken whole
NAMES = {
    "gpt-2": ([GPT2], False), "mpt": ([GPT2], False), "gpt-neox": ([GPT2], False), "olmo": ([GPT2], False),
    "smollm": ([r"\p{N}", GPT2], False), "starcoder": ([r"\p{N}", GPT2], False), "refact": ([r"\p{N}", GPT2], False),
    "command-r": ([r"\p{N}", GPT2], False), "llama-bpe": ([LLAMA3], True), "dbrx": ([LLAMA3], False),
    "smaug-bpe": ([LLAMA3], False), "qwen2": ([QWEN2], False), "qwen35": ([QWEN35], False), "tekken": ([TEKKEN], True),
    "gpt-4o": ([O200K], False), "deepseek-coder": (["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"], False),
    "deepseek-v3": ([r"\p{N}{1,3}", CJK, MARKED], False), "bloom": ([BLOOM], False), "viking": ([BLOOM, r"\p{N}"], False),
    "falcon": ([r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"], False), "kimi-k2": ([KIMI], False),
    "default": ([r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], False),
    "bailingmoe": ([r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"],
                   False),
}


def gguf_string(s):
    data = s.encode()
    return struct.pack("<Q", len(data)) + data


def write_gguf(path, pre, tokens, merges):
    """Metadata only, version 3."""
    keys = [("general.architecture", 8, gguf_string("llama")), ("tokenizer.ggml.model", 8, gguf_string("gpt2")),
            ("tokenizer.ggml.pre", 8, gguf_string(pre)), ("tokenizer.ggml.add_bos_token", 7, b"\0")]
    for key, items in [("tokenizer.ggml.tokens", tokens), ("tokenizer.ggml.merges", merges)]:
        keys.append((key, 9, struct.pack("<IQ", 8, len(items)) + b"".join(map(gguf_string, items))))
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys))
    path.write_bytes(data + b"".join(gguf_string(k) + struct.pack("<I", t) + v for k, t, v in keys))


@pytest.fixture(scope="module")
def trained():
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = [w for line in CORPUS * 3 for w, _ in pre_tokenizers.Split(Regex(LLAMA3), "isolated").pre_tokenize_str(line)]
    tok.train_from_iterator(words, trainers.BpeTrainer(vocab_size=900, show_progress=False,
                                                       initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return json.loads(tok.to_str())


@pytest.mark.parametrize("name", sorted(NAMES))
def test_pre_tokenizer_name(name, trained, tmp_path):
    patterns, whole = NAMES[name]
    data = json.loads(json.dumps(trained))
    data["model"]["ignore_merges"] = whole
    tok = Tokenizer.from_str(json.dumps(data))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns] +
                                                [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel()
    vocab = sorted(data["model"]["vocab"], key=data["model"]["vocab"].get)
    path = tmp_path / "vocab.gguf"
    write_gguf(path, name, vocab, [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]])
    lines = texts(name, 2500)
    got = run("encode", path, [{"text": t, "add_special": False} for t in lines])
    for text, g in zip(lines, got):
        assert g.get("tokens") == tok.encode(text).ids, (text, g)
    got = run("decode", path, [{"tokens": tok.encode(t).ids} for t in lines])
    assert [g["text"] for g in got] == lines


def expected_vocabs():
    return sorted(f for f in glob.glob(os.path.join(os.environ.get("TANDEM_VOCABS", "/nonexistent"), "ggml-vocab-*.gguf"))
                  if os.path.exists(f + ".inp") and "bert" not in f)


@pytest.mark.parametrize("file", expected_vocabs(), ids=os.path.basename)
def test_expected_ids(file):
    with open(file + ".inp", encoding="utf-8", newline="") as f:
        lines = f.read().split("\n__ggml_vocab_test__\n")
    with open(file + ".out", encoding="utf-8") as f:
        want = [[int(i) for i in line.split()] for line in f.read().split("\n")]
    got = run("encode", file, [{"text": t, "add_special": False} for t in lines])
    for text, w, g in zip(lines, want, got):
        assert g["tokens"] == w, (text, g)


# tiktoken: ranks of byte strings, whole words first. Its merges are what lead to each entry by lower ranks.

def merges_of(ranks):
    out = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [bytes([b]) for b in token]
        while len(parts) > 2:
            best = min(((ranks.get(parts[i] + parts[i + 1], 1 << 30), i) for i in range(len(parts) - 1)))
            if best[0] >= rank:
                break
            parts[best[1]:best[1] + 2] = [parts[best[1]] + parts[best[1] + 1]]
        if len(parts) == 2:
            out.append(parts)
    return out


def letters():
    """GPT-2's alphabet: byte to letter."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


@pytest.fixture(scope="module")
def tekken():
    """The first 12,000 entries of a real tekken file."""
    common = pytest.importorskip("mistral_common")
    files = sorted(glob.glob(os.path.join(os.path.dirname(common.__file__), "data", "tekken_*.json")))
    if not files:
        pytest.skip("mistral-common has no tekken file")
    import base64
    with open(files[-1], encoding="utf-8") as f:
        data = json.load(f)
    ranks = {base64.b64decode(v["token_bytes"]): v["rank"] for v in data["vocab"][:12000]}
    return data["config"]["pattern"], ranks, merges_of(ranks)


@pytest.mark.parametrize("name", ["tekken", "llama-bpe"])
def test_tiktoken(name, tekken, tmp_path):
    tiktoken = pytest.importorskip("tiktoken")
    pattern, ranks, merges = tekken
    pattern = pattern if name == "tekken" else LLAMA3
    oracle = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    letter = letters()

    def spell(token):
        return "".join(letter[b] for b in token)
    path = tmp_path / "vocab.gguf"
    write_gguf(path, name, [spell(t) for t, _ in sorted(ranks.items(), key=lambda item: item[1])],
               [spell(a) + " " + spell(b) for a, b in merges])
    lines = texts(name + " tiktoken", 2500)
    got = run("encode", path, [{"text": t, "add_special": False} for t in lines])
    for text, g in zip(lines, got):
        assert g.get("tokens") == oracle.encode(text, disallowed_special=()), (text, g)


def tekken_files():
    spec = importlib.util.find_spec("mistral_common")
    return sorted(glob.glob(os.path.join(os.path.dirname(spec.origin), "data", "tekken_*.json"))) if spec else []


@pytest.mark.parametrize("file", tekken_files(), ids=os.path.basename)
def test_tekken_file(file, tmp_path):
    """Mistral's own format, the whole file, against Mistral's own library."""
    from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer
    oracle = Tekkenizer.from_file(file)
    shutil.copy(file, tmp_path / "tekken.json")
    lines = texts(file[-9:], 2500)
    want = [oracle.encode(t, bos=True, eos=False) for t in lines]
    got = run("encode", tmp_path, [{"text": t} for t in lines])
    for text, w, g in zip(lines, want, got):
        assert g.get("tokens") == w, (text, g)
    got = run("decode", tmp_path, [{"tokens": w, "skip_special": True} for w in want])
    assert [g["text"] for g in got] == [oracle.decode(w, special_token_policy=SpecialTokenPolicy.IGNORE) for w in want]


def real_models():
    return [f for f in os.environ.get("TANDEM_GGUF", "").split(":") if os.path.isfile(f)]


@pytest.mark.parametrize("file", real_models(), ids=os.path.basename)
def test_real_models(file):
    """Tokens and texts that the reference implementation gave for the real models."""
    golden = os.path.join(os.path.dirname(__file__), "..", "golden", "real", os.path.basename(file) + ".json")
    with open(golden, encoding="utf-8") as f:
        cases = json.load(f)["cases"]
    got = run("encode", file, [{"text": c["text"], "add_special": True} for c in cases])
    assert [g["tokens"] for g in got] == [c["tokens"] for c in cases]
    got = run("decode", file, [{"tokens": c["greedy"]} for c in cases])
    assert [g["text"] for g in got] == [c["greedy_text"] for c in cases]
