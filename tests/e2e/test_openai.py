"""The real OpenAI client: what it sends must be understood, what it gets must fit its types."""

import pytest
from openai import BadRequestError, NotFoundError, OpenAI


@pytest.fixture
def client(server):
    with OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as c:
        yield c


@pytest.fixture
def model(client):
    return client.models.list().data[0].id


def ask(client, model, text="Say something.", **kw):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **{"max_tokens": 12, **kw}
    )


def test_models(client, model):
    assert client.models.retrieve(model).id == model
    with pytest.raises(NotFoundError):
        client.models.retrieve("other")


def test_chat(client, model):
    r = ask(client, model)
    assert r.object == "chat.completion" and r.model == model
    c = r.choices[0]
    assert c.message.role == "assistant" and c.message.content and c.finish_reason in ("stop", "length")
    u = r.usage
    assert u.total_tokens == u.prompt_tokens + u.completion_tokens and u.completion_tokens <= 12
    assert u.prompt_tokens_details.cached_tokens >= 0


def test_chat_stream_equals_whole(client, model):
    whole = ask(client, model, temperature=0, max_tokens=40)
    stream = list(ask(client, model, temperature=0, max_tokens=40, stream=True, stream_options={"include_usage": True}))
    assert stream[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in stream[:-1]) == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in stream[:-1]][-1] == whole.choices[0].finish_reason
    assert all(c.choices[0].finish_reason is None for c in stream[:-2])
    assert stream[-1].choices == [] and stream[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({c.id for c in stream}) == 1


def test_continuous_usage(client, model):
    stream = list(
        ask(client, model, stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True})
    )
    counts = [c.usage.completion_tokens for c in stream]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] > 0


def test_choices(client, model):
    r = ask(client, model, n=3, seed=7, temperature=1.0)
    assert [c.index for c in r.choices] == [0, 1, 2]
    text = {0: "", 1: "", 2: ""}
    for chunk in ask(client, model, n=3, seed=7, temperature=1.0, stream=True):
        for c in chunk.choices:
            text[c.index] += c.delta.content or ""
    assert [text[i] for i in range(3)] == [c.message.content for c in r.choices]


def test_chat_logprobs(client, model):
    r = ask(client, model, logprobs=True, top_logprobs=3, temperature=0, max_tokens=5)
    content = r.choices[0].logprobs.content
    assert len(content) == r.usage.completion_tokens or r.choices[0].finish_reason == "stop"
    for t in content:
        assert t.logprob <= 0 and len(t.top_logprobs) == 3 and t.token == bytes(t.bytes).decode(errors="replace")
        assert [x.logprob for x in t.top_logprobs] == sorted((x.logprob for x in t.top_logprobs), reverse=True)
    stream = ask(client, model, logprobs=True, top_logprobs=3, temperature=0, max_tokens=5, stream=True)
    streamed = [t for c in stream for x in c.choices if x.logprobs for t in x.logprobs.content]
    assert streamed == content


def test_completions(client, model):
    r = client.completions.create(model=model, prompt="Once", max_tokens=8)
    assert r.object == "text_completion" and r.choices[0].text and r.usage.completion_tokens <= 8
    assert client.completions.create(model=model, prompt="Once").usage.completion_tokens <= 16  # the default


def test_completions_of_several_prompts(client, model):
    one = [
        client.completions.create(model=model, prompt=p, max_tokens=6, temperature=0).choices[0].text
        for p in ("Once", "Two")
    ]
    both = client.completions.create(model=model, prompt=["Once", "Two"], max_tokens=6, temperature=0)
    assert [c.text for c in both.choices] == one and [c.index for c in both.choices] == [0, 1]
    text = ["", ""]
    for chunk in client.completions.create(
        model=model, prompt=["Once", "Two"], max_tokens=6, temperature=0, stream=True
    ):
        for c in chunk.choices:
            text[c.index] += c.text
    assert text == one


def test_echo_and_logprobs(client, model):
    r = client.completions.create(model=model, prompt="Once upon", max_tokens=4, temperature=0, echo=True, logprobs=2)
    c = r.choices[0]
    assert c.text.startswith("Once upon")
    lp = c.logprobs
    n = len(lp.tokens)
    assert n == len(lp.token_logprobs) == len(lp.top_logprobs) == len(lp.text_offset)
    assert n == r.usage.prompt_tokens + r.usage.completion_tokens
    assert lp.token_logprobs[0] is None and all(v <= 0 for v in lp.token_logprobs[1:])
    assert lp.text_offset == sorted(lp.text_offset)


def scored(client, model, **more):
    r = client.completions.create(model=model, prompt="Once upon", max_tokens=0, temperature=0, echo=True, **more)
    if not more.get("stream"):
        return r.usage, r.choices
    chunks = list(r)
    assert chunks[-1].choices[0].finish_reason == "length"
    return None, [chunks[0].choices[0]]


@pytest.mark.parametrize("stream", [False, True])
def test_prompt_alone(client, model, stream):
    """How harnesses score texts: no token is generated, the prompt's log probabilities come back."""
    usage, choices = scored(client, model, logprobs=1, stream=stream)
    c = choices[0]
    lp = c.logprobs
    assert c.text == "Once upon" and "".join(lp.tokens).endswith(c.text)
    assert lp.token_logprobs[0] is None and lp.top_logprobs[0] is None
    for token, value, top in zip(lp.tokens[1:], lp.token_logprobs[1:], lp.top_logprobs[1:]):
        assert top[token] == value and len(top) <= 2
    if usage:
        assert usage.completion_tokens == 0 and usage.prompt_tokens == len(lp.tokens)
        assert c.finish_reason == "length"
    _, choices = scored(client, model, stream=stream, n=2)
    assert {c.text for c in choices} == {"Once upon"} and choices[0].logprobs is None


def test_token_is_among_its_top(client, model):
    r = client.completions.create(model=model, prompt="Once upon", max_tokens=8, logprobs=0, temperature=2, seed=3)
    lp = r.choices[0].logprobs
    assert [[t] for t in lp.tokens] == [list(top) for top in lp.top_logprobs]


def test_prompt_logprobs(client, model):
    r = client.completions.create(model=model, prompt="Once upon", max_tokens=1, extra_body={"prompt_logprobs": 1})
    lp = r.choices[0].prompt_logprobs
    assert lp[0] is None and len(lp) == r.usage.prompt_tokens
    for entry in lp[1:]:
        for v in entry.values():
            assert v["logprob"] <= 0 and v["rank"] >= 1 and isinstance(v["decoded_token"], str)


@pytest.mark.fake
def test_text_is_whole_characters(client, model):
    said = "Größe 12 €, 日本語 🙂"
    assert ask(client, model, "!!say " + said, max_tokens=100).choices[0].message.content == said
    for chunk in ask(client, model, "!!say " + said, max_tokens=100, stream=True):
        assert "\ufffd" not in (chunk.choices[0].delta.content or "")


@pytest.mark.fake
def test_stop(client, model):
    r = ask(client, model, "!!say one two three", stop=[" th", "zzz"], max_tokens=100)
    assert r.choices[0].message.content == "one two" and r.choices[0].finish_reason == "stop"
    assert r.choices[0].stop_reason == " th"
    stream = ask(client, model, "!!say one two three", stop=[" th", "zzz"], max_tokens=100, stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == "one two"
    r = ask(
        client,
        model,
        "!!say one two three",
        stop=" th",
        max_tokens=100,
        extra_body={"include_stop_str_in_output": True},
    )
    assert r.choices[0].message.content == "one two th"


@pytest.mark.fake
def test_stop_token(client, model):
    r = ask(client, model, "!!say abcdef", extra_body={"stop_token_ids": [ord("d")]}, max_tokens=100)
    assert r.choices[0].message.content == "abc" and r.choices[0].stop_reason == ord("d")


def test_cached_tokens(client, model):
    text = "the same long beginning of a prompt, said twice, so that its blocks are found again. " * 3
    ask(client, model, text)
    assert ask(client, model, text).usage.prompt_tokens_details.cached_tokens > 0


def test_errors(client, model):
    with pytest.raises(BadRequestError) as e:
        ask(client, model, temperature=-1)
    assert e.value.param == "temperature" and "temperature" in e.value.message
    with pytest.raises(NotFoundError):
        ask(client, "other")


@pytest.mark.fake
def test_error_in_the_middle(server, client, model):
    r = server.raw().post("/v1/chat/completions", {"messages": [{"role": "user", "content": "!!fail 0"}]})
    assert r.status == 500 and r.headers["x-request-id"] in r.error["message"]
    with server.raw() as c:
        body = {"stream": True, "messages": [{"role": "user", "content": "!!fail 3"}]}
        a = c.request("POST", "/v1/chat/completions", body).answer()
    assert a.status == 200
    events = a.body.decode().split("\n\n")
    assert events[-1] == "" and events[-2].startswith('data: {"error":{') and "[DONE]" not in a.body.decode()
    assert "script" not in events[-2]  # inner causes stay in the log


def test_deadline(server):
    for headers, extra in (([], {"timeout": 0.2}), (["x-request-timeout: 0.2"], {})):
        a = server.raw().post(
            "/v1/completions", {"prompt": "a", "max_tokens": 4000, "ignore_eos": True, **extra}, headers=headers
        )
        assert a.status == 504, a
    for wrong in ("soon", "", "0x10", "1e3", "inf", "nan", "-1", "+1", "1 ,2", "0"):
        assert server.raw().post("/v1/completions", {"prompt": "a"}, headers=[f"x-request-timeout: {wrong}"]).status == 400


def test_tools_reach_the_template(server):
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    base = {"messages": [{"role": "user", "content": "a"}]}
    plain = server.raw().post("/v1/chat/completions/render", base).json
    auto = server.raw().post("/v1/chat/completions/render", {**base, "tools": tools, "tool_choice": "auto"}).json
    none = server.raw().post("/v1/chat/completions/render", {**base, "tools": tools, "tool_choice": "none"}).json
    assert none == plain and len(auto["token_ids"]) >= len(plain["token_ids"])


def test_generation_prompt_flags(server):
    msgs = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]

    def render(**kw):
        return server.raw().post("/v1/chat/completions/render", {"messages": msgs, **kw}).json["token_ids"]

    assert len(render(add_generation_prompt=False)) < len(render())
    assert len(render(add_generation_prompt=False, continue_final_message=True)) <= len(
        render(add_generation_prompt=False)
    )
