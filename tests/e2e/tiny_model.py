"""A real model of a megabyte: the golden Llama with a tokenizer of bytes and a chat template, so that the server's tests
run on the real engine where a sanitizer makes every other model take too long.

    python tests/e2e/tiny_model.py FOLDER
"""

import json
import pathlib
import shutil
import sys

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "tiny" / "llama"
CONTEXT = 8192
SPECIAL = {"<pad>": 0, "<s>": 1, "</s>": 2, "<|user|>": 3, "<|assistant|>": 4, "<|system|>": 5}
FIRST_BYTE = 8
TEMPLATE = ("{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}")


def byte_letters():
    """The letter that stands for each byte in byte-level vocabularies: itself where it can be seen, else one above 255."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in seen]
    return {b: chr(b) if b in seen else chr(256 + hidden.index(b)) for b in range(256)}


def write(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(GOLDEN / "model.safetensors", folder)
    config = json.loads((GOLDEN / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))
    added = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for c, i in SPECIAL.items()]
    vocab = {**SPECIAL, **{letter: FIRST_BYTE + b for b, letter in byte_letters().items()}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, text],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "dropout": None}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "chat_template": TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast"}))


if __name__ == "__main__":
    write(sys.argv[1])
