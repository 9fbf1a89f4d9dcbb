"""Bodies that are wrong: each is a 400 (or what it should be) that names the field, quickly, and harms nothing."""

import json
import time

import pytest
from conftest import SLOW

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USER = [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"42",
        b'"a"',
        b"null",
        b'{"prompt":"a"',
        b'{"prompt":"a"} x',
        b'{"prompt":"a","prompt":"b"}',
        b'{"prompt":"a",}',
        b"{'prompt':'a'}",
        b'{"prompt":"a" /* x */}',
        b'\xef\xbb\xbf{"prompt":"a"}',
        b'{"prompt":"\xff"}',
        b'{"prompt":"\xc0\xaf"}',
        b'{"prompt":"\xed\xa0\x80"}',
        rb'{"prompt":"\ud800"}',
        rb'{"prompt":"a\u0000b"}',
        b'{"prompt":"a\0b"}',
        b'{"prompt":"a\nb"}',
        rb'{"prompt":"a","model":"m\u0000"}',
        rb'{"prompt":"a","stop":"\u0000"}',
        b'{"prompt":"a","temperature":1e999}',
        b'{"prompt":"a","temperature":NaN}',
        b'{"prompt":"a","n":01}',
        b'{"prompt":"a","n":1.}',
        b'{"a":' * 100000,
        b"[" * 100000,
        b'{"a":[' + b"1," * 250000 + b"1]}",
    ],
    ids=lambda b: repr(b[:30]),
)
def test_malformed(server, body):
    begin = time.monotonic()
    a = server.raw().post(COMPLETIONS, body)
    assert a.status == 400, a
    assert a.error["type"] == "invalid_request_error"
    assert time.monotonic() - begin < SLOW


NUMBERS = {
    "max_tokens": [-1, 0, 2**31, 2**63, "5", 1.5, True, 1e19, [1], {}],
    "max_completion_tokens": [-1, 0, "5", 2**40],
    "min_tokens": [-1, 1.5, "1", 2**31],
    "n": [0, -1, 17, 10**9, "1", 1.5],
    "temperature": [-1, -0.001, 100.1, 1e308, "1", True, []],
    "top_p": [0, -1, 2, 1.0001, "x"],
    "min_p": [-0.1, 2, "x"],
    "typical_p": [0, 1.5],
    "top_k": [-5, 1.5, 2**31, "x"],
    "repetition_penalty": [0, -1, 10.5, 1e9, 1e-40, 0.0009],
    "presence_penalty": [-2.1, 2.1, 1e9],
    "frequency_penalty": [-2.1, 2.1, 1e9],
    "seed": [2**64, 1.5, "x", 1e19],
    "priority": [1.5, 2**31, "x"],
    "timeout": [0, -1, 1e9, "x"],
    "prompt_logprobs": [-1, 21, 1.5, True],
    "stop": [5, ["a"] * 17, [""], "", "x" * 257, [1], {"a": 1}, ["a", None], ["x" * 10**6]],
    "stop_token_ids": [5, ["a"], [-1], [10**12], [1.5], list(range(65))],
    "allowed_token_ids": [[], [-1], [10**9], "a"],
    "bad_words": [5, [1], [""], ["a"] * 65],
    "logit_bias": [
        5,
        [],
        {"-1": 1},
        {"999999999": 1},
        {"1e3": 1},
        {"abc": 1},
        {"": 1},
        {"1": 101},
        {"1": "x"},
        {"1": None},
        {str(i): 1 for i in range(1025)},
        {" 1": 1},
        {"+1": 1},
    ],
    "stream": [1, "true"],
    "stream_options": [5, {"include_usage": True}],
    "ignore_eos": [1, "x"],
    "skip_special_tokens": [0],
    "cache_salt": [5, "x" * 257],
    "best_of": [2, 0, "x"],
    "structured_outputs": [{"json": {}}],
    "guided_json": [{}],
    "guided_regex": ["a"],
    "guided_choice": [["a"]],
    "guided_grammar": ["a"],
    "response_format": [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        5,
        {},
    ],
    "prompt_embeds": ["x"],
    "truncate_prompt_tokens": [5],
    "use_beam_search": [True],
}


@pytest.mark.parametrize(
    "field,value",
    [(f, v) for f, vs in NUMBERS.items() for v in vs],
    ids=lambda x: x if isinstance(x, str) and len(x) < 30 else json.dumps(x)[:24],
)
@pytest.mark.parametrize(
    "path,base", [(CHAT, {"messages": USER}), (COMPLETIONS, {"prompt": "a"})], ids=["chat", "completions"]
)
def test_field(server, path, base, field, value):
    begin = time.monotonic()
    a = server.raw().post(path, {**base, field: value})
    assert a.status == 400, a
    assert a.error["param"] == field, a
    assert field in a.error["message"]
    assert time.monotonic() - begin < SLOW


@pytest.mark.parametrize(
    "body,field",
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [[1], "a"]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [10**12]}, "prompt"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": [[[1]]]}, "prompt"),
        ({"prompt": ["a"] * 257}, "prompt"),
        ({"prompt": ["a"] * 60, "n": 16}, "n"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "logprobs": -1}, "logprobs"),
        ({"prompt": "a", "echo": 1}, "echo"),
        ({"prompt": "a", "stream": True, "prompt_logprobs": 1}, "prompt_logprobs"),
        ({"prompt": "a", "stream": True, "stream_options": {"include_usage": 1}}, "stream_options"),
        ({"prompt": "a", "max_tokens": 4, "min_tokens": 5}, "min_tokens"),
    ],
)
def test_completions_body(server, body, field):
    a = server.raw().post(COMPLETIONS, body)
    assert a.status == 400 and a.error["param"] == field, a


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        {},
        "a",
        [5],
        [{}],
        [{"role": "user"}],
        [{"content": "a"}],
        [{"role": "king", "content": "a"}],
        [{"role": 5, "content": "a"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": {}}],
        [{"role": "user", "content": ["a"]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "text", "text": 5}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}] * 1025}],
        [{"role": "tool", "content": "a"}],
        [{"role": "assistant", "content": None}],
        [{"role": "assistant", "content": None, "tool_calls": 5}],
        [{"role": "assistant", "content": None, "tool_calls": [{}]}],
        [{"role": "user", "content": "a"}] * 4097,
    ],
)
def test_messages(server, messages):
    a = server.raw().post(CHAT, {"messages": messages})
    assert a.status == 400 and a.error["param"] == "messages", a


@pytest.mark.parametrize(
    "extra,field",
    [
        ({"logprobs": 1}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 3}, "top_logprobs"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}] * 129}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "f", "description": "x" * 70000}}]}, "tools"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 5}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"functions": []}, "functions"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"chat_template_kwargs": 5}, "chat_template_kwargs"),
        ({"documents": 5}, "documents"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "continue_final_message"),
    ],
)
def test_chat_body(server, extra, field):
    a = server.raw().post(CHAT, {"messages": USER, **extra})
    assert a.status == 400 and a.error["param"] == field, a


@pytest.mark.parametrize(
    "extra",
    [
        {"user": "x", "metadata": {"a": 1}, "store": True, "foo": [1, {"b": None}], "service_tier": "auto"},
        {"kv_transfer_params": None, "cache_hit_threshold": 0.5, "request_id": "x", "bootstrap_room": 2**62},
        {"max_completion_tokens": 2, "min_tokens": 1},
        {"n": None, "stop": None, "seed": None, "temperature": None},
        {"seed": -(2**63)},
        {"seed": 2**63 - 1},
        {"temperature": 0},
        {"top_k": -1},
        {"stop": []},
        {"logit_bias": {"5": -100}},
        {"best_of": 1},
        {"response_format": {"type": "text"}},
        {"stop": ["x" * 256] * 16},
        {"priority": -5},
        {"timeout": 5},
    ],
)
@pytest.mark.parametrize(
    "path,base", [(CHAT, {"messages": USER}), (COMPLETIONS, {"prompt": "a"})], ids=["chat", "completions"]
)
def test_accepted(server, path, base, extra):
    a = server.raw().post(path, {**base, "max_tokens": 2, **extra})
    assert a.status == 200, a


def test_unknown_model(server):
    a = server.raw().post(CHAT, {"model": "gpt-99", "messages": USER})
    assert a.status == 404 and a.error["code"] == "model_not_found" and a.error["param"] == "model"


def test_context_is_named(server):
    n = server.raw().get("/v1/models").json["data"][0]["max_model_len"]
    for path, body, param in (
        (COMPLETIONS, {"prompt": [5] * (n - 10), "max_tokens": 11}, "max_tokens"),
        (COMPLETIONS, {"prompt": "a" * 17 * n}, "prompt"),
        (CHAT, {"messages": USER, "max_tokens": n - 1}, "max_tokens"),
        (CHAT, {"messages": [{"role": "user", "content": "a" * 17 * n}]}, "messages"),
    ):
        a = server.raw().post(path, body)
        assert a.status == 400 and a.error["code"] == "context_length_exceeded", a
        assert str(n) in a.error["message"] and a.error["param"] == param


def test_roles_are_named(server):
    a = server.raw().post(CHAT, {"messages": [{"role": "robot", "content": "a"}]})
    assert a.status == 400 and a.error["param"] == "messages"
    assert all(role in a.error["message"] for role in ("system", "developer", "user", "assistant", "tool", "function"))


@pytest.mark.parametrize("text", ["a", " ", "\n", "e\u0301", "\ufffd", "<|im_end|>", "<s>"])
def test_large_prompt_is_refused_quickly(server, text):
    body = json.dumps({"prompt": text * (8_000_000 // len(text.encode()))}, ensure_ascii=False).encode()
    begin = time.monotonic()
    a = server.raw().post(COMPLETIONS, body)
    assert a.status == 400, a
    assert time.monotonic() - begin < 5 * SLOW


def test_body_limit(server):
    with server.raw() as c:
        c.send(
            b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(20):
                c.send(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert c.answer().status == 413


def test_request_ids(server):
    a = server.raw().get("/live", headers=["x-request-id: one", "x-request-id: two"])
    assert a.headers["x-request-id"] == "two"
    for bad in ("a" * 129, "a b", 'a"b', "\xff"):
        with server.raw() as c:
            c.send(f"GET /live HTTP/1.1\r\nHost: a\r\nx-request-id: {bad}\r\n\r\n".encode("latin-1"))
            assert c.answer().headers["x-request-id"] not in ("", bad)
    ids = {server.raw().get("/live").headers["x-request-id"] for _ in range(10)}
    assert len(ids) == 10


def test_text_parts_are_joined(server):
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    a = server.raw().post("/v1/chat/completions/render", {"messages": [{"role": "user", "content": parts}]})
    b = server.raw().post("/v1/chat/completions/render", {"messages": [{"role": "user", "content": "one\ntwo"}]})
    assert a.status == 200 and a.json == b.json


def test_render_and_tokenize(server):
    a = server.raw().post("/v1/completions/render", {"prompt": ["ab", "c"]}).json
    assert [set(x) for x in a] == [{"token_ids", "features"}] * 2 and len(a[0]["token_ids"]) > 0
    t = server.raw().post("/tokenize", {"prompt": "ab", "return_token_strs": True}).json
    assert t["tokens"] == a[0]["token_ids"] and t["count"] == len(t["tokens"]) == len(t["token_strs"])
    plain = server.raw().post("/tokenize", {"prompt": "ab", "add_special_tokens": False}).json
    assert plain["token_strs"] is None
    d = server.raw().post("/detokenize", {"tokens": plain["tokens"]}).json
    assert d == {"prompt": "ab"}
    long = server.raw().post("/tokenize", {"prompt": "a" * ((1 << 20) + 1)})
    assert long.status == 400 and long.error["param"] == "prompt"
    chat = server.raw().post("/tokenize", {"messages": USER}).json
    assert chat["tokens"] == server.raw().post("/v1/chat/completions/render", {"messages": USER}).json["token_ids"]
    for path, body in (
        ("/tokenize", {}),
        ("/tokenize", {"prompt": 5}),
        ("/detokenize", {}),
        ("/detokenize", {"tokens": [-1]}),
        ("/detokenize", {"tokens": "a"}),
        ("/detokenize", {"tokens": [10**9]}),
    ):
        assert server.raw().post(path, body).status == 400


def test_generate(server):
    ids = server.raw().post("/tokenize", {"prompt": "abc"}).json["tokens"]
    body = {
        "token_ids": ids,
        "sampling_params": {
            "max_tokens": 3,
            "n": 2,
            "temperature": 0,
            "ignore_eos": True,
            "extra_args": {"kv_transfer_params": None},
        },
    }
    a = server.raw().post("/inference/v1/generate", body)
    assert a.status == 200, a
    assert [len(c["token_ids"]) for c in a.json["choices"]] == [3, 3]
    assert a.json["choices"][0]["finish_reason"] == "length" and a.json["usage"]["completion_tokens"] == 6
    with server.raw() as c:
        text = c.request("POST", "/inference/v1/generate", {**body, "stream": True}).answer().body.decode()
    events = [json.loads(e[6:]) for e in text.split("\n\n")[:-2]]
    streamed = {i: [t for e in events for x in e["choices"] if x["index"] == i for t in x["token_ids"]] for i in (0, 1)}
    assert streamed == {c["index"]: c["token_ids"] for c in a.json["choices"]}
    assert text.endswith("data: [DONE]\n\n")
    for bad in (
        {},
        {"token_ids": []},
        {"token_ids": [10**9]},
        {"token_ids": ids, "sampling_params": 5},
        {"token_ids": ids, "sampling_params": {"max_tokens": 0}},
        {"token_ids": ids, "sampling_params": {f"x{i}": 1 for i in range(300)}},
    ):
        assert server.raw().post("/inference/v1/generate", bad).status == 400
