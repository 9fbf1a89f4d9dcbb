#!/usr/bin/env python3
"""House rules that a machine can check, over the tracked files: form, size, banned calls, direction of includes,
headers that stand alone, dead files, blobs, and documents made from the flag table. Run by ctest;
prints each finding with its place and fails when there is one.

    tools/tidy.py [--binary build/x/tandem] [--ratchet]    --ratchet rewrites the list of long functions
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINE_MAX, FILE_MAX, FUNCTION_MAX, BLOB_MAX = 120, 800, 70, 100_000
RATCHET = ROOT / "tools" / "long_functions.txt"
CODE = (".c", ".h", ".cc", ".cu", ".cuh")
TEXT = CODE + (".py", ".sh", ".md", ".cmake", ".txt", ".json", ".yaml", ".yml", ".1")

BANNED = {
    "sprintf": "snprintf or td_buf_fmt", "vsprintf": "vsnprintf", "strcpy": "memcpy with a checked length",
    "strcat": "td_buf_str", "gets": "lines_next", "atoi": "flags_parse_int or strtol", "atol": "strtol",
    "atof": "strtod", "strtok": "strcspn", "alloca": "an arena", "rand": "the seeded generator", "srand": "a seed",
    "gmtime": "gmtime_r", "localtime": "localtime_r", "asctime": "strftime", "ctime": "strftime", "tmpnam": "mkstemp",
    "system": "posix_spawn",
}
# Lower folders first; a folder may include itself and what stands before it, but not its peers of the same rank.
RANK = {"base": 0, "kernels": 1, "model": 2, "kvcache": 2, "parallel": 2, "engine": 3, "server": 4, "tools": 5}
EXIT_CALLS = ("exit", "_exit", "abort", "printf", "puts", "perror")

findings = []


def find(path, line, text):
    findings.append(f"{path}:{line}: {text}")


def tracked():
    # New files count before they are committed; ignored ones never.
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                         capture_output=True, text=True, check=True).stdout
    return [p for p in out.splitlines() if (ROOT / p).is_file()]


def strip(code):
    """The code with comments and literals blanked, line for line."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blank(match):
        text = match.group(0)
        keep = text[0] if text[0] in "\"'" else " "
        return keep + re.sub(r"[^\n]", " ", text[1:-1]) + keep if len(text) > 1 else text

    return re.sub(pattern, blank, code, flags=re.S)


def check_form(path, text):
    for number, line in enumerate(text.split("\n"), 1):
        limit = 140 if path.startswith("tests/e2e/") else LINE_MAX
        if len(line) > limit and not path.endswith((".md", ".json", ".yaml", ".1")):
            find(path, number, f"{len(line)} columns, at most {LINE_MAX}")
        if line != line.rstrip() and not path.endswith((".md", ".1")):
            find(path, number, "space at the end of the line")
        if "\t" in line and not path.endswith((".json", ".1", ".md")):
            find(path, number, "tab")
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line) and path != "tools/tidy.py":
            find(path, number, "a note to do something later")
    if text and not text.endswith("\n"):
        find(path, text.count("\n") + 1, "no newline at the end")
    lines = text.count("\n")
    if path.endswith(CODE + (".py", ".sh")) and lines > FILE_MAX and "long:" not in text.split("\n", 1)[0]:
        find(path, 1, f"{lines} lines, at most {FILE_MAX} (a first line with `long: why` allows it)")


def functions(code):
    """(name, first line, lines) of each function: a brace alone in column 0 opens its body."""
    lines = code.split("\n")
    for at, line in enumerate(lines):
        if line.rstrip() != "{":
            continue
        head, name_line = "", at - 1
        while name_line >= 0 and lines[name_line].strip() and not lines[name_line].startswith(("}", "#")):
            head = lines[name_line] + " " + head
            if not lines[name_line].startswith((" ", "\t")):
                break
            name_line -= 1
        name = re.search(r"(\w+)\s*\(", head)
        end = next((k for k in range(at, len(lines)) if lines[k].startswith("}")), at)
        if name:
            yield name.group(1), name_line + 1, end - at + 1


def check_code(path, text, long_now):
    code = strip(text)
    product = path.split("/")[0] in RANK
    for number, line in enumerate(code.split("\n"), 1):
        for call in re.findall(r"(?<![\w.>])(\w+)\s*\(", line):
            if call in BANNED and (product or call != "system"):
                find(path, number, f"{call} is banned; use {BANNED[call]}")
            if call == "getenv" and product and not path.startswith("tools/"):
                find(path, number, "getenv outside tools/")
            if call in EXIT_CALLS and product and not path.startswith(("tools/", "base/err.c")):
                find(path, number, f"{call} below tools/")
        # An array whose length is a lower-case variable is likely one of variable length.
        vla = re.match(r"\s+(?:const )?(?:u?int\w*_t|int|char|float|double|size_t|bool) \w+\[([a-z]\w*)\]\s*[;=]", line)
        if vla and not re.search(rf"enum[^}}]*\b{vla.group(1)}\b|#define {vla.group(1)}\b", code):
            find(path, number, f"array of variable length [{vla.group(1)}]")
    raw = text.split("\n")
    for name, line, size in functions(code):
        if size > FUNCTION_MAX and "long:" not in "\n".join(raw[max(0, line - 4):line + 2]):
            long_now[f"{path} {name}"] = size


def check_includes(path, text):
    folder = path.split("/")[0]
    if folder not in RANK:
        return
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target = match.group(1).split("/")[0]
        if target not in RANK or "/" not in match.group(1):
            find(path, number, f'"{match.group(1)}": own headers are included as "folder/x.h"')
        elif target != folder and RANK[target] >= RANK[folder]:
            find(path, number, f"{folder} includes {target}, which is not below it")
        elif folder == "server" and target in ("model", "kvcache", "parallel", "kernels"):
            find(path, number, "the server sees the engine's public header alone")


def check_dead(files):
    sources = [p for p in files if p.endswith((".c", ".cc")) and p.split("/")[0] in RANK]
    text = {p: (ROOT / p).read_text(errors="replace") for p in files if p.endswith(CODE)}
    included = set()
    for body in text.values():
        included.update(re.findall(r'#\s*include\s+"([^"]+)"', body))
    for path in files:
        if path.endswith(".h") and path.split("/")[0] in RANK:
            if path not in included and path != "engine/tandem.h":
                find(path, 1, "a header that nothing includes")
    databases = [p for p in (ROOT / "build").glob("*/compile_commands.json") if p.parent.name != "gpu"] # kernels alone
    databases.sort(key=lambda p: p.stat().st_mtime)
    if databases:
        built = set(re.findall(r'"file": "([^"]+)"', databases[-1].read_text()))
        for path in sources:
            if str(ROOT / path) not in built and (ROOT / path).stat().st_mtime < databases[-1].stat().st_mtime:
                find(path, 1, f"not built by {databases[-1].parent.name}")


def check_blobs(files):
    for path in files:
        if path.startswith(("tests/golden/", "LICENSE")):
            continue
        size = (ROOT / path).stat().st_size
        if size > BLOB_MAX:
            find(path, 1, f"{size} bytes, at most {BLOB_MAX} outside tests/golden")
        elif not path.startswith("tests/") and b"\0" in (ROOT / path).read_bytes():
            find(path, 1, "a binary file outside tests/")


def header_flags():
    """Include paths for system libraries, as pkg-config knows them."""
    flags = []
    for name in ("libcjson", "libcrypto", "yaml-0.1", "libpcre2-8", "libutf8proc", "libmicrohttpd", "gnutls"):
        out = subprocess.run(["pkg-config", "--cflags", name], capture_output=True, text=True)
        flags += out.stdout.split()
    return flags


def check_headers(files):
    """Each header compiles alone; the public one as C++ too. All go through one compiler call a language."""
    flags = ["-fsyntax-only", "-D_GNU_SOURCE", f"-I{ROOT}"] + header_flags()
    headers = [p for p in files if p.endswith(".h") and p.split("/")[0] in RANK]
    with tempfile.TemporaryDirectory() as folder:
        units = []
        for i, header in enumerate(headers):
            unit = pathlib.Path(folder) / f"{i}.c"
            unit.write_text(f'#include "{header}"\n#include "{header}"\ntypedef int not_empty;\n')
            units.append((header, unit))
        run = subprocess.run(["gcc", "-std=c11", "-mavx2", "-mfma", "-mf16c"] + flags + [str(u) for _, u in units],
                             capture_output=True, text=True)
        if run.returncode:
            for header, unit in units:
                if f"{unit}:" in run.stderr:
                    find(header, 1, "does not compile alone")
            print(run.stderr[:4000], file=sys.stderr)
            if not any(f"{u}:" in run.stderr for _, u in units):
                find("headers", 1, "do not compile")
        public = pathlib.Path(folder) / "public.cc"
        public.write_text('extern "C" {\n#include "engine/tandem.h"\n}\n')
        run = subprocess.run(["g++", "-std=c++17"] + flags + [str(public)], capture_output=True, text=True)
        if run.returncode:
            find("engine/tandem.h", 1, "does not compile as C++: " + run.stderr.split("\n")[0])


def check_ratchet(long_now, rewrite):
    """Functions over the limit are listed with their size; the list may only shrink."""
    if rewrite:
        RATCHET.write_text("".join(f"{k} {v}\n" for k, v in sorted(long_now.items())))
        return
    allowed = {}
    if RATCHET.exists():
        for line in RATCHET.read_text().split("\n"):
            if line:
                key, size = line.rsplit(" ", 1)
                allowed[key] = int(size)
    for key, size in sorted(long_now.items()):
        if size > allowed.get(key, FUNCTION_MAX):
            find(key.split()[0], 1, f"{key.split()[1]} has {size} lines, at most {allowed.get(key, FUNCTION_MAX)}"
                                    " (kernels and state machines: /* long: why */)")
    for key, size in sorted(allowed.items()):
        if long_now.get(key, 0) < size:
            find("tools/long_functions.txt", 1, f"{key} became shorter: run tools/tidy.py --ratchet")


def check_documents(binary):
    def output(*words):
        env = {k: v for k, v in os.environ.items() if not k.startswith("TANDEM_")}
        return subprocess.run([binary, *words], capture_output=True, text=True, check=True, env=env).stdout

    for path, words in (("docs/flags.md", ("help", "--markdown")), ("docs/tandem.1", ("help", "--man"))):
        file = ROOT / path
        if not file.exists() or file.read_text() != output(*words):
            find(path, 1, f"is not what `tandem {' '.join(words)}` prints; write it again")
    names = []
    for line in output("help").split("\n"):
        match = re.match(r"  ((?:bench )?[a-z-]+)\b", line)
        if match and not line.startswith("   "):
            names.append(match.group(1))
    readme = re.findall(r"^\| `((?:bench )?[a-z-]+)", (ROOT / "README.md").read_text(), re.M)
    for name in names:
        if name not in readme:
            find("README.md", 1, f"the table of verbs lacks `{name}`")
    for name in readme:
        if name not in names:
            find("README.md", 1, f"`{name}` is no verb of the binary")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary")
    parser.add_argument("--ratchet", action="store_true")
    arguments = parser.parse_args()
    files = tracked()
    long_now = {}
    for path in files:
        if path.startswith("tests/golden/") or "/corpus/" in path or path == "LICENSE":
            continue
        if path.endswith(TEXT):
            text = (ROOT / path).read_text(errors="replace")
            check_form(path, text)
            if path.endswith(CODE):
                check_code(path, text, long_now)
                check_includes(path, text)
    check_ratchet(long_now, arguments.ratchet)
    check_dead(files)
    check_blobs(files)
    check_headers(files)
    if arguments.binary:
        check_documents(arguments.binary)
    for finding in sorted(findings):
        print(finding)
    print(f"{len(findings)} findings in {len(files)} files")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
