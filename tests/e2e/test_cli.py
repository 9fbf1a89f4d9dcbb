"""The command line as a user meets it: verbs, flags, exit statuses, batch files. Needs the binary and the demo model,
which tools/test.sh brings; without them everything here is skipped."""

import json
import math
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import time

import pytest

from terminal import Terminal

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("E2E_BINARY", ROOT / "build" / "release" / "tandem"))
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
MODELS = pathlib.Path(os.environ.get("E2E_MODELS", CACHE / "tandem" / "models"))
MODEL = MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = MODEL.name

pytestmark = pytest.mark.skipif(not BINARY.exists() or not MODEL.exists(), reason="needs the binary and the demo model")
ENV = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
SMALL = ["--kv-cache-memory", "64MiB"]


def run(*words, stdin="", env=None, timeout=300, **more):
    words = [str(w) for w in words]
    stdin = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run([str(BINARY), *words], input=stdin, capture_output=True, timeout=timeout,
                          env={**ENV, **(env or {})}, **more)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def good(*words, **more):
    status, out, err = run(*words, **more)
    assert status == 0, err
    return out


# ---------------------------------------------------------------- help and flags


def verbs():
    out = good("help")
    return re.findall(r"^  ((?:bench )?[a-z][a-z-]*)", out, re.M)


def test_bound_on_memory():
    """Weights that do not fit are refused by name; where they fit, the cache shrinks."""
    status, _, err = run("complete", MODEL, "-p", "a", "-n", "1", "--max-rss", "60M")
    assert status == 4 and "weights" in err and "--max-rss" in err
    loose, tight = (
        json.loads(good("inspect", MODEL, "--json", "--max-num-seqs", "4", *more))["plan"]["kv_bytes"]
        for more in ([], ["--max-rss", "220M"])
    )
    assert 0 < tight < 100 << 20 and tight < loose


def started(*words, **more):
    """What a server that serves the demo model with these flags logs until it does."""
    p = subprocess.Popen([str(BINARY), "serve", str(MODEL), "--port", "0", *words], stderr=subprocess.PIPE, env=ENV, **more)
    try:
        lines = []
        for line in p.stderr:
            lines.append(line.decode())
            if " serving " in lines[-1]:
                return "".join(lines)
        raise AssertionError("".join(lines))
    finally:
        p.send_signal(signal.SIGTERM)
        p.communicate(timeout=60)


def test_start_says_what_a_step_takes():
    log = started(*SMALL)
    size, ms, count = re.search(r"steps of up to (\d+) tokens.* took ([\d.]+) ms, the best of (\d+) probes", log).groups()
    assert 64 <= int(size) <= 2048 and f"and {size} tokens in a step" in log
    assert float(ms) > 0 and (int(count) > 1 or float(ms) >= 100)
    fits = 32 * 100 / float(ms)  # tokens in 100 ms
    assert int(size) <= max(fits * 1.1, 64) and (int(size) == 2048 or int(size) * 2 >= fits * 0.9)


def test_empty_host():
    status, _, err = run("serve", MODEL, "--host", "")
    assert status == 2 and "--host is empty" in err and "Name or service" not in err


@pytest.mark.skipif(BINARY.exists() and b"__asan_init" in BINARY.read_bytes(), reason="ASan's shadow takes terabytes")
def test_address_space_shrinks_the_cache():
    bound = 1 << 30
    log = started("--max-num-seqs", "4", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (bound, bound)))
    cache = int(re.search(r"KV cache (\d+) MiB", log).group(1))
    assert 32 < cache < 1024


def test_small_stack():
    """A soft limit on the stack is raised, a hard one is named; threads do not depend on it."""
    def limit(hard):
        return lambda: resource.setrlimit(resource.RLIMIT_STACK, (128 << 10, hard))
    words = ["complete", MODEL, "-p", "Once upon a time", "-n", "12", "--temperature", "0", "--ids", *SMALL]
    assert good(*words, preexec_fn=limit(resource.getrlimit(resource.RLIMIT_STACK)[1])) == good(*words)
    status, out, err = run(*words, preexec_fn=limit(128 << 10))
    assert status == 2 and not out and "ulimit -s" in err


def test_low_memory():
    """The same tokens, little memory of its own; a file that is cut short ends the process with a word."""
    words = ["complete", MODEL, "-p", "Once upon a time", "-n", "12", "--temperature", "0", "--ids", *SMALL]
    assert good(*words) == good(*words, "--low-memory")
    plan = json.loads(good("inspect", MODEL, "--json", "--low-memory", *SMALL))["plan"]
    assert plan["weight_bytes"] < 8 << 20 < 64 << 20 < plan["mapped_bytes"] < MODEL.stat().st_size


def test_file_cut_short_in_low_memory(tmp_path):
    model = tmp_path / NAME
    model.write_bytes(MODEL.read_bytes())
    words = ["complete", model, "-p", "a", "-n", "8000", "--ignore-eos", "--ids", "--low-memory"]
    p = subprocess.Popen([str(BINARY), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    assert p.stdout.read(1)
    os.truncate(model, 1 << 20)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 1 and b"cut short" in err


def test_every_verb_has_help_in_80_columns():
    names = verbs()
    assert {"serve", "complete", "chat", "run-batch", "bench latency", "logits", "inspect", "version"} <= set(names)
    for name in names:
        for form in (["--help"], ["--help=all"], ["-h"]):
            out = good(*name.split(), *form)
            assert all(len(line) <= 80 for line in out.splitlines()), name
            assert f"usage: tandem {name}" in out
    assert good("--help") == good("help") == good()
    assert "--kv-cache-memory" in good("serve", "--help", "cache")
    assert run("serve", "--help", "xyzzy")[0] == 2


def test_version():
    v = json.loads(good("version", "--json"))
    assert {"version", "commit", "isas", "devices", "libraries", "threads"} <= set(v)
    assert v["version"] in good("--version")
    # Every library that README's table says the binary runs with.
    table = (ROOT / "README.md").read_text().split("| library | reason |")[1].split("| cmocka")[0]
    named = {re.sub(r" \(.*\)", "", row.split("|")[1]).strip() for row in table.splitlines()[2:]} - {""}
    assert len(named) > 9 and named == set(v["libraries"]) and all(name in good("version") for name in named)
    assert all(v["libraries"][name][0].isdigit() for name in ("GnuTLS", "sentencepiece", "OpenSSL"))


def test_documents_agree_on_exit_statuses():
    table = (ROOT / "docs" / "INTERFACES.md").read_text().split("## Exit codes")[1].split("##")[0].replace("`", "")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.M)
    page = good("help", "--man").split(".SH EXIT STATUS")[1].split(".SH")[0].replace("\\-", "-")
    assert len(rows) == 8 and [f"{code} {text}" for code, text in rows] == re.findall(r"^\d.*", page, re.M)


def test_hints_lead_somewhere():
    assert "did you mean" not in run("version", "--prot")[2]
    assert "did you mean 'port'" in run("serve", "--prot")[2]
    status, _, err = run("complete", MODEL, "--dtype", "bfloat16")
    assert status == 2 and "planned" in err


def test_man_and_markdown_come_from_the_table():
    man, markdown = good("help", "--man"), good("help", "--markdown")
    for text in (man.replace("\\-", "-"), markdown):
        assert "max-num-batched-tokens" in text
    assert man.startswith(".TH TANDEM 1")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, tmp_path):
    script = good("completion", shell)
    assert "max-model-len" in script
    if shell == "bash":
        file = tmp_path / "c"
        file.write_text(script + "\nCOMP_WORDS=(tandem serve --max-m); COMP_CWORD=2; _tandem; echo ${COMPREPLY[@]}\n"
                        "COMP_WORDS=(tandem serve --device ''); COMP_CWORD=3; _tandem; echo ${COMPREPLY[@]}\n")
        done = subprocess.run(["bash", str(file)], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[0].split() == ["--max-model-len"]
        assert "cpu" in done.stdout.splitlines()[1].split()
    assert run("completion", "tcsh")[0] == 2


@pytest.mark.parametrize("words, env, part", [
    (["complte"], {}, "'complete'"),
    (["serve"], {}, "usage: tandem serve MODEL"),
    (["complete", "m", "--temprature", "1"], {}, "'temperature'"),
    (["complete", "m", "--port", "1"], {}, "a flag of `serve`"),
    (["complete", "m", "--top-p", "2"], {}, "to 1"),
    (["serve", "m", "--port", "70000"], {}, "from 0 to 65535"),
    (["serve", "m", "--device", "tpu"], {}, "auto|cpu"),
    (["serve", "m", "--enable-lora"], {}, "not supported"),
    (["serve", "m", "--tensor-parallel-size", "2"], {}, "planned"),
    (["serve", "m"], {"TANDEM_MAX_MODELLEN": "1"}, "max-model-len"),
    (["serve", "m"], {"TANDEM_PORT": "x"}, "TANDEM_PORT"),
    (["serve", "m", "--config", "/nonexistent/x"], {}, "/nonexistent/x"),
    (["complete", "a", "b"], {}, "one word too many"),
    (["bench"], {}, "bench what"),
    (["run-batch", "m"], {}, "-i IN.jsonl"),
    (["perplexity", "m"], {}, "-f FILE"),
])
def test_wrong_usage_is_2_and_says_what(words, env, part):
    status, out, err = run(*words, env=env)
    assert (status, out) == (2, "")
    assert part in err


def test_layers_and_their_origin(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("port: 1\nmax-model-len: 1K\nserved-model-name: [a, b]\nui: off\n")
    out = good("serve", "m", "--config", config, "--port", "3", "--api-key", "hunter2", "--print-config",
               env={"TANDEM_PORT": "2", "TANDEM_MAX_NUM_SEQS": "0.5k", "TANDEM_SERVICE_HOST": "10.0.0.1",
                    "TANDEM_PORT_80_TCP": "tcp://1.2.3.4:80"})
    rows = {line.split(" = ")[0]: line.split(" = ")[1] for line in out.splitlines()}
    assert rows["port"].split() == ["3", "#", "command", "line"]
    assert rows["max-num-seqs"].split() == ["500", "#", "TANDEM_MAX_NUM_SEQS"]
    assert rows["max-model-len"].split() == ["1024", "#", f"{config}:2"]
    assert rows["served-model-name"].startswith('"a", "b"')
    assert rows["host"].split() == ['"127.0.0.1"', "#", "default"]
    assert "hunter2" not in out


def test_flags_of_other_engines_are_accepted_with_one_line():
    status, out, err = run("serve", "m", "--enforce-eager", "--trust-remote-code", "--print-config")
    assert status == 0
    assert err.count("no effect") == 2


@pytest.mark.parametrize("content", [None, b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 64, b"not a model" * 100])
def test_a_bad_model_is_3(tmp_path, content):
    file = tmp_path / "m.gguf"
    if content is not None:
        file.write_bytes(content)
    for verb in ("complete", "inspect", "tokenize"):
        status, _, err = run(verb, file)
        assert status == 3, err
        assert err.startswith("tandem: ") and len(err.splitlines()) == 1


def test_hub_cache(tmp_path):
    repo = tmp_path / "hub" / "models--org--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc123")
    (repo / "snapshots" / "abc123").mkdir(parents=True)
    status, _, err = run("inspect", "org/name", env={"HF_HOME": str(tmp_path)})
    assert status == 3 and "snapshots/abc123" in err
    status, _, err = run("inspect", "org/other", env={"HF_HOME": str(tmp_path)})
    assert status == 3 and str(tmp_path) in err


# ---------------------------------------------------------------- text


def test_tokenize_and_back():
    text = "Hello, wörld! 東京 <|im_start|>\n\n  x"
    ids = json.loads(good("tokenize", MODEL, stdin=text))["tokens"]
    assert json.loads(good("detokenize", MODEL, stdin=" ".join(map(str, ids))))["text"] == text
    assert json.loads(good("detokenize", MODEL, stdin=json.dumps({"tokens": ids})))["text"] == text
    special = json.loads(good("tokenize", MODEL, "--parse-special", stdin=text))["tokens"]
    assert len(special) < len(ids)


def test_jsonl_keeps_lines_in_step():
    lines = ['{"text":"a"}', "nonsense", '{"text":7}', '{"text":"b","add_special":false}']
    status, out, _ = run("tokenize", MODEL, "--jsonl", stdin="\n".join(lines))
    rows = [json.loads(x) for x in out.splitlines()]
    assert status == 1
    assert [list(r) for r in rows] == [["tokens"], ["error"], ["error"], ["tokens"]]


def test_render():
    lines = [{"messages": [{"role": "user", "content": "Hi"}]},
             {"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": False}, {"messages": 3}, {"messages": []}]
    status, out, _ = run("render", MODEL, stdin="\n".join(map(json.dumps, lines)))
    rows = [json.loads(x) for x in out.splitlines()]
    assert status == 1
    assert rows[0]["prompt"].endswith("<|im_start|>assistant\n")
    assert rows[1]["prompt"].endswith("Hi<|im_end|>\n")
    assert "error" in rows[2] and rows[3]["error"] == "\"messages\" is empty"


def test_own_chat_template(tmp_path):
    file = tmp_path / "t.jinja"
    file.write_text("{{ messages[0].content }}|{{ x }}")
    out = good("render", MODEL, "--chat-template", file,
               stdin='{"messages":[{"role":"user","content":"Hi"}],"x":"y"}')
    assert json.loads(out) == {"prompt": "Hi|y"}


# ---------------------------------------------------------------- generation


def complete(*words, **more):
    return good("complete", MODEL, *SMALL, *words, **more)


def test_complete_is_the_same_however_it_is_asked():
    first = complete("-p", "The capital of France is", "-n", "12", "--temperature", "0")
    assert first.startswith(" Paris")
    assert complete("-n12", "--temperature=0", stdin="The capital of France is") == first
    assert complete("-p", "-", "-n", "12", "--temperature", "0", stdin="The capital of France is") == first
    both = complete("-p", "One, two,", "-p", "The capital of France is", "-n", "12", "--temperature", "0")
    assert both.endswith("\n" + first) or both == first + both
    assert complete("-p", "One, two,", "-n", "12", "--temperature", "0") + first == both


def test_seeds_choices_ids_and_stops():
    ask = ["-p", "Once upon a time", "-n", "10"]
    assert complete(*ask, "--seed", "7") == complete(*ask, "--seed", "7")
    ids = complete(*ask, "--seed", "7", "--n", "3", "--ids").splitlines()
    assert len(ids) == 3 and len(set(ids)) == 3
    assert all(len(line.split()) == 10 for line in ids)
    alone = complete(*ask, "--seed", "7", "--ids").splitlines()
    assert alone[0] == ids[0]
    assert "," not in complete("-p", "One, two, three,", "-n", "20", "--temperature", "0", "--stop", ",")


def test_complete_streams():
    process = subprocess.Popen([str(BINARY), "complete", str(MODEL), *SMALL, "-p", "Once", "-n", "200", "--temperature",
                                "0", "--ignore-eos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    assert process.stdout.read(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_a_reader_that_leaves():
    process = subprocess.Popen([str(BINARY), "complete", str(MODEL), *SMALL, "-p", "Once", "-n", "500", "--ignore-eos"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    process.stdout.read(1)
    process.stdout.close()
    assert process.wait(60) == 1


def test_chat():
    one = good("chat", MODEL, *SMALL, "-p", "Say hello.", "-n", "8", "--temperature", "0")
    lines = good("chat", MODEL, *SMALL, "-n", "8", "--temperature", "0", stdin="Say hello.\n/reset\nSay hello.\n/exit\n")
    assert lines == one + one
    ended = good("chat", MODEL, *SMALL, "-n", "4", "--temperature", "0", stdin="Hi")
    assert ended.strip()


# ---------------------------------------------------------------- numbers


def test_logits():
    ask = json.dumps({"tokens": [504, 3575, 282, 4649, 314], "positions": [1, 4]})
    rows = json.loads(good("logits", MODEL, *SMALL, stdin=ask))["logits"]
    top = json.loads(good("logits", MODEL, *SMALL, "--top", "3", stdin=ask))["top"]
    assert len(rows) == 2 and len(top) == 2
    for row, best in zip(rows, top):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:3]
        assert [b[0] for b in best] == order
        assert [b[1] for b in best] == [row[i] for i in order]
    for bad in ('{"tokens":[]}', '{"tokens":[999999999]}', '{"tokens":[1],"positions":[1]}', "x"):
        assert run("logits", MODEL, *SMALL, stdin=bad)[0] == 1


def test_one_hash_for_every_way_to_compute():
    ask = json.dumps({"tokens": list(range(100, 180)), "positions": list(range(80))})
    ways = [[], ["--threads", "1"], ["--max-num-batched-tokens", "7"], ["--no-enable-prefix-caching"],
            ["--block-size", "32"]]
    ways += [["--cpu-isa", isa] for isa in json.loads(good("version", "--json"))["isas"] if isa != "avx512bf16"]
    hashes = {good("logits", MODEL, *SMALL, "--hash", *way, stdin=ask) for way in ways}
    assert len(hashes) == 1 and re.fullmatch(r"[0-9a-f]{64}\n", hashes.pop())


def test_perplexity_is_what_the_logits_say(tmp_path):
    text = "The quick brown fox jumps over the lazy dog. " * 12
    file = tmp_path / "t.txt"
    file.write_text(text)
    out = good("perplexity", MODEL, *SMALL, "-f", file, "--ctx", "16", "--chunks", "3")
    ids = json.loads(good("tokenize", MODEL, stdin=text))["tokens"]
    asks = [json.dumps({"tokens": ids[c * 16:c * 16 + 16], "positions": list(range(8, 15))}) for c in range(3)]
    nll = []
    for c, line in enumerate(good("logits", MODEL, *SMALL, stdin="\n".join(asks)).splitlines()):
        for i, row in enumerate(json.loads(line)["logits"]):
            peak = max(row)
            nll.append(math.log(sum(math.exp(x - peak) for x in row)) + peak - row[ids[c * 16 + 8 + i + 1]])
    want = math.exp(sum(nll) / len(nll))
    assert abs(float(out.split()[1]) / want - 1) < 1e-3
    assert "over 21 tokens" in out
    file.write_text("short")
    assert run("perplexity", MODEL, *SMALL, "-f", file)[0] == 1


# llama-perplexity of llama.cpp build 11434 on this repository's LICENSE, `-c 128 -b 128`: the fourth running figure. Both
# programs round activations to 8 bits, each in its own way; the definition is the same, the last digits are not.
@pytest.mark.parametrize("name, theirs", [("SmolLM2-135M-Instruct.Q4_1.gguf", 15.0542), ("gemma-3-270m-Q4_K_M.gguf", 12.0932)])
def test_perplexity_is_what_llama_cpp_says(name, theirs):
    out = good("perplexity", MODELS / name, *SMALL, "-f", ROOT / "LICENSE", "-c", "128", "--chunks", "4")
    assert "over 252 tokens" in out
    assert abs(math.log(float(out.split()[1])) / math.log(theirs) - 1) < 5e-3


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_perplexity_has_no_result(tmp_path, by):
    (tmp_path / "text").write_text("All work and no play makes Jack a dull boy. " * 20000)
    words = ["perplexity", MODEL, *SMALL, "-f", tmp_path / "text", "-c", "64"]
    process = subprocess.Popen([str(BINARY), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV)
    assert process.stderr.readline().startswith(b"[1/")
    process.send_signal(by)
    out, err = process.communicate(timeout=60)
    assert process.returncode == -by and out == b"" and b"no result" in err


SAY = ["-p", "x", "-n", "1"]


@pytest.mark.parametrize("words, status, part", [
    (["complete", "", *SAY], 2, "MODEL is empty"),
    (["complete", "/dev/null", *SAY], 3, "neither a regular file nor a directory"),
    (["complete", MODELS.parent, *SAY], 3, "no model here, neither config.json nor a .gguf file"),
    (["complete", MODELS, *SAY], 3, "did you mean"),
    (["run-batch", MODELS, "-i", ROOT / "README.md", "-o", "/dev/null"], 2, "no regular file"),
    (["run-batch", MODEL, "-i", ROOT / "README.md", "-o", ROOT], 2, "no regular file"),
    (["run-batch", MODEL, "-i", ROOT, "-o", "/nonexistent"], 1, "is a directory"),
    (["complete", MODEL, *SMALL, *SAY, "--stop", ""], 2, "stop string"),
    (["complete", MODEL, *SMALL, *SAY, "--stop-token-ids", "1999999"], 2, "0 to 49151"),
    (["complete", MODEL, *SMALL, *SAY, "--min-tokens", "5"], 2, "larger than max_tokens"),
    (["complete", MODEL, *SMALL, *SAY, "--max-model-len", "1"], 1, "leaves no room"),
    (["chat", MODEL, *SMALL, "--stop", ""], 2, "stop string"),
    (["logits", MODEL, *SMALL, "--hash", "--top", "3"], 2, "--top"),
    (["perplexity", MODEL, *SMALL, "-f", ROOT], 1, "Is a directory"),
    (["bench", "latency", MODEL, *SMALL, "-p", "0", "-n", "0"], 2, "no row"),
    (["bench", "latency", MODEL, *SMALL, "-d", "100k"], 2, "100513"),
    (["bench", "throughput", MODEL, *SMALL, "-p", "2000", "-n", "2000"], 2, "4001"),
])
def test_what_cannot_be_is_said_before_work_begins(words, status, part):
    said = run(*words, stdin="one\ntwo\n")
    assert said[:2] == (status, "") and part in said[2], said
    assert sum(line.startswith("tandem: ") for line in said[2].splitlines()) == 1


def test_inspect():
    described = json.loads(good("inspect", MODEL, *SMALL, "--json", "--tensors"))
    assert described["format"] == "gguf v3"
    assert described["config"]["layer_count"] == 30
    assert len(described["tensors"]) == sum(t["tensors"] for t in described["types"].values())
    assert described["plan"]["kv_bytes"] <= 64 << 20
    assert re.fullmatch(r"[0-9a-f]{64}", described["model_fp"]) and described["model_fp"].strip("0")
    assert "KV cache" in good("inspect", MODEL, *SMALL)
    assert good("inspect", ROOT / "tests" / "golden" / "tiny" / "llama", *SMALL).endswith("chat template\n  none\n")


def test_bench_rows():
    rows = json.loads(good("bench", "latency", MODEL, *SMALL, "-p", "16", "-n", "4", "-b", "1,2", "-d", "0,32", "-r",
                           "2", "-o", "json"))
    assert [(r["test"], r["batch"], r["depth"]) for r in rows] == [
        (t, b, d) for b in (1, 2) for d in (0, 32) for t in ("pp16", "tg4")]
    for r in rows:
        assert {"threads", "isa", "avg_ts", "stddev_ts", "samples_ts", "roof_share"} <= set(r)
        assert len(r["samples_ts"]) == 2 and r["avg_ts"] > 0
    row = json.loads(good("bench", "throughput", MODEL, *SMALL, "-p", "16", "-n", "4", "-r", "1", "-o", "json"))[0]
    assert row["test"] == "pp16+tg4"
    table = good("bench", "latency", MODEL, *SMALL, "-p", "16", "-n", "0", "-r", "1")
    assert table.splitlines()[2].startswith(f"| {NAME} |") and "pp16" in table
    assert run("bench", "latency", MODEL, *SMALL, "-p", "100k")[0] == 2


# ---------------------------------------------------------------- server


@pytest.fixture(scope="module")
def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        number = s.getsockname()[1]
    process = subprocess.Popen([str(BINARY), "serve", str(MODEL), *SMALL, "--port", str(number)],
                               stderr=subprocess.DEVNULL, env=ENV)
    for _ in range(1200):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", number)) == 0:
                s.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if b" 200 " in s.recv(64):
                    break
        time.sleep(0.05)
    yield number
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_port_in_use_is_5(port):
    status, _, err = run("serve", MODEL, "--port", port)
    assert status == 5 and str(port) in err


def test_bench_serve(port, tmp_path):
    file = tmp_path / "r.json"
    out = good("bench", "serve", "--url", f"http://127.0.0.1:{port}/", "--num-prompts", "6", "--input-len", "8",
               "--output-len", "5", "--max-concurrency", "3", "--save-result", file, "--goodput", "e2el:600000")
    result = json.loads(file.read_text())
    assert "6 completed" in out
    assert (result["completed"], result["failed"], result["total_output_tokens"]) == (6, 0, 30)
    assert result["max_concurrent_requests"] <= 3
    for name in ("ttft", "tpot", "itl", "e2el"):
        assert 0 < result[f"median_{name}_ms"] <= result[f"p99_{name}_ms"]
    assert result["request_goodput"] == result["request_throughput"]
    chat = good("bench", "serve", "--url", f"http://127.0.0.1:{port}", "--endpoint", "chat", "--num-prompts", "3",
                "--request-rate", "50", "--output-len", "4", "--input-len", "4", "--save-result", "-")
    assert json.loads(chat)["completed"] == 3


def test_a_server_on_a_unix_socket(tmp_path):
    path = tmp_path / "s"
    server = subprocess.Popen([str(BINARY), "serve", str(MODEL), *SMALL, "--uds", str(path)], stderr=subprocess.PIPE, text=True,
                              env=ENV)
    said = ""
    while "serving" not in said:
        said = server.stderr.readline()
    url = said.split(" on ")[1].strip()  # as the server itself writes its address
    words = ["--num-prompts", "3", "--input-len", "8", "--output-len", "4"]
    assert url == f"unix:{path}" and "3 completed" in good("bench", "serve", "--url", url, *words)
    assert good("chat", "--url", url, "-p", "Hi", "-n", "4").strip()
    server.send_signal(signal.SIGTERM)
    server.communicate()
    status, _, err = run("bench", "serve", "--url", url, *words)
    assert status == 1 and f"{url}: " in err
    assert run("bench", "serve", "--url", "unix:", *words)[0] == 2


def test_several_answers_are_told_apart_on_a_terminal():
    words = ["complete", MODEL, *SMALL, "-p", "One", "-p", "Two", "-n", "3", "--n", "2", "--temperature", "0"]
    answers = good(*words)
    assert "==" not in answers
    t = Terminal([str(BINARY), *map(str, words)], ENV)
    for i in (1, 2):
        for k in (1, 2):
            t.expect(f"== prompt {i}, answer {k} ==\r\n")
    assert t.wait() == 0
    t = Terminal([str(BINARY), *map(str, words[:-6]), "-n", "3"], ENV)
    t.expect("== prompt 2 ==")
    t = Terminal([str(BINARY), "complete", str(MODEL), *SMALL, "-p", "One", "-n", "3", "--temperature", "0"], ENV)
    assert t.wait() == 0 and not re.search(rb"prompt 1|answer 1", t.seen)


def test_bench_serve_of_a_server_that_refuses(port):
    url = f"http://127.0.0.1:{port}"
    status, out, err = run("bench", "serve", "--url", url, "--num-prompts", "2", "--model", "nope")
    assert status == 1 and "nope is not served" in out and "nope is not served" in err
    assert "0 completed, 2 failed" in out and "TTFT" not in out


def test_bench_serve_without_a_server():
    status, _, err = run("bench", "serve", "--url", "http://127.0.0.1:9", "--num-prompts", "2")
    assert status == 1 and "127.0.0.1:9" in err
    assert run("bench", "serve", "--goodput", "speed:1")[0] == 2


# ---------------------------------------------------------------- run-batch


def line(custom_id, body=None, **more):
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/completions",
               "body": {"prompt": f"Number {custom_id} is", "max_tokens": 6, "temperature": 0, **(body or {})}, **more}
    return json.dumps(request).encode()


def batch(tmp_path, data, *words, timeout=300, **more):
    (tmp_path / "in.jsonl").write_bytes(data)
    status, out, err = run("run-batch", MODEL, *SMALL, "-i", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", *words,
                           timeout=timeout, **more)
    return status, out, err


def results(path):
    return [json.loads(x) for x in path.read_text().splitlines()]


def test_batch(tmp_path):
    data = b"\n".join(line(f"r{i}") for i in range(30)) + b"\n"
    status, out, err = batch(tmp_path, data, "--ordered", "--summary-json", "-")
    assert status == 0, err
    rows = results(tmp_path / "out.jsonl")
    assert [r["custom_id"] for r in rows] == [f"r{i}" for i in range(30)]
    assert all(r["error"] is None and r["response"]["status_code"] == 200 for r in rows)
    assert rows[0]["response"]["body"]["object"] == "text_completion"
    assert rows[0]["response"]["request_id"]
    summary = json.loads(out)
    assert (summary["lines"], summary["ok"], summary["failed"], summary["complete"]) == (30, 30, 0, True)
    assert summary["output_tokens"] == 180
    assert not (tmp_path / "out.jsonl.part").exists()
    # A finished file is not written over; the same answers one by one, on stdout.
    status, _, err = batch(tmp_path, data)
    assert status == 2 and "--resume" in err and results(tmp_path / "out.jsonl") == rows
    status, out, err = run("run-batch", MODEL, *SMALL, "-i", "-", "-o", "-", "--concurrency", "1", stdin=data, cwd=tmp_path)
    alone = {r["custom_id"]: r["response"]["body"]["choices"] for r in map(json.loads, out.splitlines())}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
    assert status == 0 and "on stdout" in err and alone == {r["custom_id"]: r["response"]["body"]["choices"] for r in rows}


def test_bad_lines_are_results(tmp_path):
    bad = [
        b"nonsense",
        b"[1]",
        b'{"custom_id":7}',
        line("same"),
        line("same"),
        line("url", url="/v1/embeddings"),
        line("method", method="GET"),
        line("model", {"model": "gpt-4"}),
        line("range", {"temperature": -1}),
        line("stream", {"stream": True}),
        b'{"custom_id":"body","method":"POST","url":"/v1/completions","body":3}',
        b'{"custom_id":"twice","custom_id":"twice"}',
        b'{"custom_id":"utf8","body":"\xff"}',
        b'{"custom_id":"big","body":{"prompt":"' + b"x" * (20 << 20) + b'"}}',
    ]
    data = b"\xef\xbb\xbf" + line("first") + b"\r\n\r\n   \n" + b"\r\n".join(bad) + b"\n" + line("last")
    status, _, err = batch(tmp_path, data, "--ordered", "--errors", tmp_path / "err.jsonl")
    assert status == 6, err
    fine, failed = results(tmp_path / "out.jsonl"), results(tmp_path / "err.jsonl")
    assert [r["custom_id"] for r in fine] == ["first", "same", "last"]
    assert len(failed) == len(bad) - 1
    assert all(r["error"]["code"] and r["error"]["message"] for r in failed)
    by_id = {r["custom_id"]: r for r in failed}
    assert by_id["model"]["response"]["status_code"] == 404
    assert by_id["range"]["response"]["status_code"] == 400
    assert by_id["same"]["error"]["code"] == "duplicate_custom_id"
    assert by_id["url"]["response"] is None
    assert failed[-1]["error"]["code"] == "too_large"


def test_model_names(tmp_path):
    data = b"\n".join(line(str(i), {"model": m}) for i, m in enumerate([NAME, str(MODEL), "mine"]))
    status, _, _ = batch(tmp_path, data, "--served-model-name", "mine")
    assert status == 0


def wait_for(condition, seconds=200):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_killed_at_any_moment(tmp_path):
    """Ten kills, from before the first result to the middle of the last ones; then each line is there once, in order."""
    total, chance = 60, random.Random(20)
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(line(f"k{i}", {"max_tokens": 24}) for i in range(total)) + b"\n")
    words = ["run-batch", MODEL, *SMALL, "-i", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl", "--concurrency", "3"]
    part = tmp_path / "out.jsonl.part"
    count = lambda: part.read_bytes().count(b"\n") if part.exists() else 0
    for kill in range(10):
        goal = count() + chance.randint(0, 6)
        process = subprocess.Popen([str(BINARY), *map(str, words), "--resume"], stderr=subprocess.DEVNULL, env=ENV)
        wait_for(lambda: process.poll() is not None or count() >= goal)
        assert process.poll() is None
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.wait()
        if part.exists() and kill % 3 == 1:
            with part.open("ab") as f:
                f.write(b'{"id":"batch-40","custom_id":"k3')  # a torn line, as a power cut leaves it
    earlier = count()
    assert 0 < earlier < total
    status, _, err = run(*words)
    assert status == 2 and "--resume" in err
    status, out, err = run(*words, "--resume", "--ordered", "--summary-json", "-")
    assert status == 0, err
    assert [r["custom_id"] for r in results(tmp_path / "out.jsonl")] == [f"k{i}" for i in range(total)]
    assert json.loads(out)["earlier"] == earlier and json.loads(out)["ok"] == total - earlier
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]
    before = (tmp_path / "out.jsonl").read_bytes()
    assert run(*words, "--resume")[0] == 0
    assert (tmp_path / "out.jsonl").read_bytes() == before
    (tmp_path / "in.jsonl").write_bytes(line("other"))
    status, _, err = run(*words, "--resume")
    assert status == 2 and "not the same input" in err
    assert (tmp_path / "out.jsonl").read_bytes() == before
    # The same ids, another temperature in one line; then the same input and another model.
    lines = [line(f"k{i}", {"max_tokens": 24}) for i in range(total)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines[:-1] + [line(f"k{total - 1}", {"temperature": 0.1})]) + b"\n")
    status, _, err = run(*words, "--resume")
    assert status == 2 and f"line {total} is another one" in err
    status, _, err = run(*words[:4], "-i", "-", *words[6:], "--resume", stdin=b"\n".join(lines[:-1]))
    assert status == 2 and f"line {total} is not there" in err
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    status, _, err = run("run-batch", MODELS / "gemma-3-270m-Q4_K_M.gguf", *words[2:], "--resume")
    assert status == 2 and "fingerprint" in err and "not the same model" in err
    assert run(*words, "--resume", "--kv-cache-dtype", "float32")[0] == 2  # other numbers in the cache, other answers
    assert (tmp_path / "out.jsonl").read_bytes() == before and not part.exists()
    # Nor does a model that does not load take the results away, or leave an empty file in the way.
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    assert run("run-batch", tmp_path / "bad.gguf", *words[2:], "--resume")[0] == 3
    assert (tmp_path / "out.jsonl").read_bytes() == before and not part.exists()


def test_failed_lines_are_tried_again(tmp_path):
    data = b"\n".join(line(f"r{i}", {"model": "new-name"} if i % 2 else None) for i in range(6)) + b"\nnonsense\n"
    status, out, _ = batch(tmp_path, data, "--summary-json", "-")
    assert status == 6 and json.loads(out)["failed"] == 4
    first = {r["custom_id"]: r for r in results(tmp_path / "out.jsonl") if not r["error"]}
    status, out, err = batch(tmp_path, data, "--resume", "--served-model-name", "new-name", "--ordered", "--summary-json", "-",
                             "--errors", tmp_path / "err.jsonl")
    assert status == 6, err
    summary = json.loads(out)
    assert (summary["earlier"], summary["retried"], summary["ok"], summary["failed"]) == (3, 4, 3, 1)
    rows = results(tmp_path / "out.jsonl")
    assert [r["custom_id"] for r in rows] == [f"r{i}" for i in range(6)]
    assert all(r["error"] is None for r in rows)
    assert all(r == first[r["custom_id"]] for r in rows if r["custom_id"] in first)  # not done again
    assert [r["error"]["code"] for r in results(tmp_path / "err.jsonl")] == ["invalid_line"]


@pytest.mark.parametrize("words, part", [
    (["-o", "-", "--resume"], "goes on with a file"),
    (["-o", "-", "--errors", "-"], "same file"),
    (["-o", "-", "--summary-json", "-"], "both go to stdout"),
    (["-o", "in.jsonl"], "would be overwritten"),
    (["-o", "./in.jsonl"], "would be overwritten"),
    (["-o", "out.jsonl", "--errors", "out.jsonl"], "same file"),
    (["-o", "out.jsonl", "--errors", "in.jsonl"], "would be overwritten"),
    (["-o", "nowhere/out.jsonl"], "nowhere"),
])
def test_batch_files_that_cannot_be(tmp_path, words, part):
    (tmp_path / "in.jsonl").write_bytes(line("a"))
    status, out, err = run("run-batch", MODEL, *SMALL, "-i", "in.jsonl", *words, cwd=tmp_path)
    assert status == (1 if part == "nowhere" else 2) and part in err, err
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_no_space_left(tmp_path):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    data = b"\n".join(line(f"r{i}") for i in range(30)) + b"\n"
    status, _, err = batch(tmp_path, data, preexec_fn=small_files)
    assert status == 1 and "--resume" in err
    part = (tmp_path / "out.jsonl.part").read_bytes()
    assert part.endswith(b"\n") and 0 < part.count(b"\n") < 30
    status, _, err = batch(tmp_path, data, "--resume")
    assert status == 0, err
    assert len(results(tmp_path / "out.jsonl")) == 30


def test_interrupt_drains(tmp_path):
    data = b"\n".join(line(f"r{i}", {"max_tokens": 40, "ignore_eos": True}) for i in range(200)) + b"\n"
    (tmp_path / "in.jsonl").write_bytes(data)
    process = subprocess.Popen([str(BINARY), "run-batch", str(MODEL), *SMALL, "-i", str(tmp_path / "in.jsonl"), "-o",
                                str(tmp_path / "out.jsonl"), "--concurrency", "2"], stderr=subprocess.PIPE, env=ENV)
    part = tmp_path / "out.jsonl.part"
    end = time.monotonic() + 200
    while time.monotonic() < end and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 1, err  # not complete: whoever waits for OUT must not take it for done
    assert b"--resume" in err
    rows = results(part)
    assert 0 < len(rows) < 200 and all(r["response"]["status_code"] == 200 for r in rows)


def test_a_batch_waits_for_nothing_but_its_engine(tmp_path):
    """A line that is alone is sent as soon as the one before has ended."""
    data = b"\n".join(line(f"r{i}", {"max_tokens": 1}) for i in range(20)) + b"\n"
    status, out, err = batch(tmp_path, data, "--concurrency", "1", "--summary-json", "-")
    assert status == 0 and json.loads(out)["seconds"] < 20 * 0.2, err


def test_killed_batch_leaves_no_socket(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(line(f"r{i}", {"max_tokens": 1500, "ignore_eos": True}) for i in range(8)))
    out, tmp = tmp_path / "out.jsonl", tmp_path / "tmp"
    tmp.mkdir()
    words = [BINARY, "run-batch", MODEL, *SMALL, "-i", tmp_path / "in.jsonl", "-o", out]
    process = subprocess.Popen([str(w) for w in words], stderr=subprocess.DEVNULL, env={**ENV, "TMPDIR": str(tmp)})
    wait_for(lambda: (tmp_path / "out.jsonl.part").exists())
    time.sleep(1)
    assert process.poll() is None and not list(tmp.iterdir())
    process.kill()
    process.wait()
    assert (tmp_path / "out.jsonl.part").stat().st_size == 0
    # Nor is the empty file in the way of the next run.
    assert batch(tmp_path, line("a"))[0] == 0


def test_fail_fast(tmp_path):
    data = b"\n".join([line("a"), b"bad"] + [line(f"r{i}", {"max_tokens": 50}) for i in range(100)])
    status, _, err = batch(tmp_path, data, "--fail-fast", "--concurrency", "1")
    assert status == 6 and "not complete" in err
    assert (tmp_path / "out.jsonl.part").exists()


def test_batch_usage_and_bad_model(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(line("a"))
    assert run("run-batch", MODEL, "-i", tmp_path / "none", "-o", tmp_path / "o")[0] == 1
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    assert run("run-batch", tmp_path / "bad.gguf", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "o")[0] == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.gguf", "in.jsonl"]
