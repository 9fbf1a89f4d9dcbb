#!/usr/bin/env python3
"""Looks at what nvcc left beside the objects of the CUDA kernels: ptxas' words on each kernel, and the PTX.

    tools/ptxas_gate.py BUILD/cuda [--spills FILE] [--expect FILE] [--table]

Fails on registers spilled by a kernel that the list of tools/ptxas_spills.txt does not allow (or allows less), on an
entry of that list that no kernel needs, on wgmma that ptxas runs one by one, on setmaxnreg that it ignores, and on an
instruction of tools/ptx_expect.txt that is not in the PTX of its file. --table prints every kernel's figures.
"""
import argparse
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BAD = ("serialized", "setmaxnreg' ignored")


def rows(path):
    """The list's lines without comments, as words."""
    for line in path.read_text().split("\n"):
        words = line.split("#")[0].split()
        if words:
            yield words


def demangle(names):
    out = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True)
    return out.stdout.split("\n") if out.returncode == 0 else names


def kernels(log):
    """(name, target, registers, spilled bytes) of each kernel in a log."""
    name = target = None
    spilled = 0
    for line in log.read_text(errors="replace").split("\n"):
        match = re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line)
        if match:
            name, target = match.groups()
        match = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if match:
            spilled = int(match.group(1)) + int(match.group(2))
        match = re.search(r"Used (\d+) registers", line)
        if match and name:
            yield name, target, int(match.group(1)), spilled
            name, spilled = None, 0


def check_logs(folder, allowed, table):
    findings, used, lines = [], set(), []
    for log in sorted(folder.glob("*.log")):
        for line in log.read_text(errors="replace").split("\n"):
            if any(bad in line for bad in BAD):
                findings.append(f"{log.stem}.cu: {line.strip()}")
        found = list(kernels(log))
        for (_, target, registers, spilled), name in zip(found, demangle([f[0] for f in found])):
            short = name.split("(")[0].replace("void ", "").strip()
            lines.append(f"{log.stem:16} {target:8} {registers:4} {spilled:6}  {short}")
            key = next((k for k in allowed if k[0] == log.stem and k[1] == target and short.startswith(k[2])), None)
            if spilled > (allowed[key] if key else 0):
                findings.append(f"{log.stem}.cu: {short} spills {spilled} bytes for {target}")
            elif spilled and key:
                used.add(key)
    for key in sorted(set(allowed) - used):
        if (folder / f"{key[0]}.log").exists():
            findings.append(f"tools/ptxas_spills.txt: nothing spills in {' '.join(key)}: take the line away")
    if table:
        print("\n".join(["file             target   regs  spill  kernel"] + lines))
    return findings, len(lines)


def check_ptx(folder, expect):
    findings = []
    for name, target, instruction in expect:
        if not (folder / name).is_dir():
            continue
        ptx = [p for p in (folder / name).glob("*.ptx") if target in p.name or len(list(p.parent.glob("*.ptx"))) == 1]
        if not ptx:
            findings.append(f"{name}.cu: no PTX for {target}")
        elif not any(instruction in p.read_text() for p in ptx):
            findings.append(f"{name}.cu: {target} has no {instruction}")
    return findings


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--spills", type=pathlib.Path, default=ROOT / "tools" / "ptxas_spills.txt")
    parser.add_argument("--expect", type=pathlib.Path, default=ROOT / "tools" / "ptx_expect.txt")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    allowed = {(w[0], w[1], w[2]): int(w[3]) for w in rows(arguments.spills)}
    findings, count = check_logs(arguments.folder, allowed, arguments.table)
    findings += check_ptx(arguments.folder, [w for w in rows(arguments.expect)])
    if count == 0:
        findings.append(f"{arguments.folder}: no kernels")
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings in {count} kernels")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
