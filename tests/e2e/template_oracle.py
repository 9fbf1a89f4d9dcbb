"""Chat templates, byte for byte against jinja2 set up as Hugging Face's renderer sets it up.

Templates: tests/golden/templates/*.jinja (ours, one feature each), those inside the GGUF files named by
TANDEM_GGUF (colon separated), and every *.jinja below TANDEM_TEMPLATES (real models' templates, not part of this
repository). Each is rendered with every conversation below; output must be equal, and an error must be an error on
both sides.

Needs: jinja2 >= 3.1.6, pytest; the program render_cli of the build in TANDEM_BUILD (default build/dev).
"""

import datetime
import json
import os
import pathlib
import subprocess

import jinja2
import jinja2.ext
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TANDEM_BUILD", ROOT / "build/dev"))
RENDER = BUILD / "tests/unit/render_cli"
NOW = 1_700_000_000


class Generation(jinja2.ext.Extension):
    """{% generation %} renders its body; only training looks at where it was."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_body")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


class Dict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(fmt):
        return datetime.datetime.fromtimestamp(NOW).strftime(fmt)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=strftime_now, namespace=Namespace, dict=Dict())
    return env


def expected(source, cases):
    """What jinja2 makes of each case: ("ok", text) or ("error", message)."""
    try:
        template = environment().from_string(source)
    except Exception as e:  # the compile error every case then has
        return [("error", f"{type(e).__name__}: {e}")] * len(cases)
    out = []
    for case in cases:
        try:
            text = template.render(**case)
            text.encode("utf-8")
            out.append(("ok", text))
        except Exception as e:
            out.append(("error", f"{type(e).__name__}: {e}"))
    return out


def ours(path, cases):
    lines = "".join(json.dumps({**c, "now": NOW}) + "\n" for c in cases)
    run = subprocess.run([RENDER, path], input=lines, capture_output=True, text=True, timeout=120)
    assert run.returncode in (0, 3), f"render_cli ended with {run.returncode}: {run.stderr}"
    got = [json.loads(line) for line in run.stdout.split("\n") if line]
    if run.returncode == 3:
        got = got * len(cases)
    return [("ok", g["prompt"]) if "prompt" in g else ("error", g["error"]) for g in got]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Current weather in a place.\nSecond line, \"quoted\" <b>&amp;</b>",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name of the city, e.g. Zürich"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                    "days": {"type": ["integer", "null"], "default": 1, "minimum": 0, "maximum": 7.5},
                    "where": {
                        "type": "object",
                        "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                    },
                    "tags": {"type": "array", "items": {"type": "string"}},
                },
                "required": ["city"],
            },
            "return": {"type": "string", "description": "the weather"},
            "strict": True,
        },
    },
    {
        "type": "function",
        "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}},
    },
]


def call(name, arguments, ident="call00001"):
    return {"id": ident, "type": "function", "function": {"name": name, "arguments": arguments}}


def conversations():
    system = {"role": "system", "content": "You are  helpful.\n"}
    user = {"role": "user", "content": "Hello, <b>how</b> are you?"}
    answer = {"role": "assistant", "content": " Fine & well.\n\n"}
    again = {"role": "user", "content": "Weiß du's? 你好 👋🏽 \u00a0\u2028"}
    thought = {
        "role": "assistant",
        "content": "<think>\nhm, 1 < 2\n</think>\n\nSo: yes.",
        "reasoning_content": "hm, 1 < 2",
        "thinking": "hm, 1 < 2",
    }
    calls = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            call(
                "get_weather",
                {"city": "Zürich", "days": 2, "x": 1.0, "b": True, "n": None, "l": ["a", 1], "d": {"k": "v"}},
            )
        ],
    }
    result = {"role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "{\"t\": 21.5}"}
    two = {
        "role": "assistant",
        "content": "Looking.",
        "tool_calls": [call("now", {}), call("now", {"z": "é"}, "call00002")],
    }
    parts = {
        "role": "user",
        "content": [{"type": "text", "text": "part one "}, {"type": "text", "text": "part two"}],
    }
    chats = [
        [user],
        [system, user],
        [user, answer, again],
        [system, user, answer, again, answer],
        [],
        [user, thought, again],
        [system, user, thought, again, thought],
        [user, calls, result],
        [system, user, calls, result, answer, again],
        [user, two, result, result, answer],
        [parts],
        [system, parts, answer, parts],
        [{"role": "user", "content": ""}],
        [{"role": "developer", "content": "Be brief."}, user],
        [user, user],
        [system],
        [{"role": "user", "content": None}],
        [user, answer],
        [{"role": "system", "content": ""}, user, thought],
        [system, user, {**calls, "content": "", "reasoning_content": "think"}, result, again],
    ]
    base = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "tools": None,
        "documents": None,
    }
    out = []
    for i, chat in enumerate(chats):
        for gen in (True, False):
            out.append({**base, "messages": chat, "add_generation_prompt": gen})
        out.append({**base, "messages": chat, "add_generation_prompt": True, "tools": TOOLS})
        if i % 4 == 0:
            out.append(
                {
                    **base,
                    "messages": chat,
                    "add_generation_prompt": True,
                    "enable_thinking": False,
                    "thinking": False,
                    "reasoning_effort": "high",
                    "date_string": "26 Jul 2024",
                    "custom_tools": TOOLS,
                    "xml_tools": TOOLS,
                    "builtin_tools": ["browser", "python"],
                    "documents": [{"title": "T", "text": "some text", "doc_id": 1}],
                    "preserve_thinking": True,
                }
            )
    return out


def gguf_template(path):
    """tokenizer.chat_template of a GGUF, by scanning for the key (a string: u32 type 8, u64 length, bytes)."""
    with open(path, "rb") as f:
        head = f.read(64 << 20)
    key = b"tokenizer.chat_template"
    at = head.find(key)
    if at < 0:
        return None
    at += len(key)
    assert int.from_bytes(head[at : at + 4], "little") == 8
    n = int.from_bytes(head[at + 4 : at + 12], "little")
    return head[at + 12 : at + 12 + n].decode("utf-8")


def template_files(tmp):
    files = sorted((ROOT / "tests/golden/templates").glob("*.jinja"))
    if os.environ.get("TANDEM_TEMPLATES"):
        files += sorted(pathlib.Path(os.environ["TANDEM_TEMPLATES"]).rglob("*.jinja"))
    for gguf in filter(None, os.environ.get("TANDEM_GGUF", "").split(":")):
        source = gguf_template(gguf)
        if source:
            path = tmp / (pathlib.Path(gguf).name + ".jinja")
            path.write_text(source, encoding="utf-8", newline="")
            files.append(path)
    return files


def read(path):
    return pathlib.Path(path).read_bytes().decode("utf-8")


def differences(path, cases):
    want, got = expected(read(path), cases), ours(path, cases)
    assert len(want) == len(got)
    return [(i, w, g) for i, (w, g) in enumerate(zip(want, got)) if w[0] != g[0] or (w[0] == "ok" and w[1] != g[1])]


def describe(want, got):
    if want[0] != got[0]:
        return f"want {want[0]} {want[1][:300]!r}, got {got[0]} {got[1][:300]!r}"
    at = len(os.path.commonprefix([want[1], got[1]]))
    return f"at {at}: want {want[1][max(at - 40, 0):at + 60]!r}, got {got[1][max(at - 40, 0):at + 60]!r}"


def pytest_generate_tests(metafunc):
    if "template" in metafunc.fixturenames:
        tmp = BUILD / "gguf-templates"
        tmp.mkdir(exist_ok=True)
        files = template_files(tmp)
        metafunc.parametrize("template", files, ids=[f.stem for f in files])


def test_template(template):
    cases = conversations()
    bad = differences(template, cases)
    for i, want, got in bad[:2]:
        print(f"case {i}: {describe(want, got)}")
    assert not bad, f"{len(bad)} of {len(cases)} cases differ"


@pytest.mark.skipif(not os.environ.get("TANDEM_TEMPLATES"), reason="needs real models' templates")
def test_many_real_templates_take_many_conversations():
    """At least 30 shapes that differ, each with several conversations that it does not refuse."""
    shapes = {read(f) for f in pathlib.Path(os.environ["TANDEM_TEMPLATES"]).rglob("*.jinja")}
    good = [s for s in shapes if sum(kind == "ok" for kind, _ in expected(s, conversations())) >= 5]
    assert len(good) >= 30


def test_some_cases_succeed():
    """The comparison would be empty if every template refused every conversation."""
    files = sorted((ROOT / "tests/golden/templates").glob("*.jinja"))
    assert len(files) >= 20
    for path in files:
        assert any(kind == "ok" for kind, _ in expected(read(path), conversations())), path
