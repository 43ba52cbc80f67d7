"""What passed on which platform: docs/platforms.md, from the results of runs.

matrix.py keep RESULTS KEPT.json    adds a run's JUnit files to those of before; of each test file, the newest result counts
matrix.py write PAGE KEPT.json…     writes the table into the page, one line for each platform"""
import datetime
import glob
import json
import os
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

from summary import outcome

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))
from lab import kamailios  # noqa: E402
from lab.redis_tools import MASTERS, redis_tool  # noqa: E402

PARTS = ("build", "unit", "system", "demo", "e2e")
# What a platform is made of, as its packages call it.
PACKAGES = {"Kamailio": "kamailio", "Redis": "redis-server", "Valkey": "valkey-server", "hiredis": "libhiredis-dev",
            "libre": "libre-dev", "libuv": "libuv1-dev", "SIPp": "sip-tester"}
COMPILERS = ("gcc", "clang")
BEGIN, END = "<!-- written by ./dev matrix -->\n", "<!-- to here -->\n"


def upstream(package):
    """1.2.0 of 4:1.2.0-6+b3."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package], capture_output=True, text=True)
    state, _, version = done.stdout.partition(" ")
    return re.sub(r"^\d+:|[-+].*$", "", version) if state == "installed" else None


def maker():
    """Who made the store's server."""
    return "Valkey" if redis_tool("server").startswith("valkey") else "Redis"


def versions():
    found = {name: upstream(package) for name, package in PACKAGES.items()}
    found["Kamailio"] = ", ".join(".".join(map(str, version)) for version in kamailios.versions())
    found.pop("Redis" if maker() == "Valkey" else "Valkey")
    for name in COMPILERS:
        found[name] = subprocess.run([name, "-dumpversion"], capture_output=True, text=True, check=True).stdout.strip()
    return {name: version for name, version in found.items() if version}


def others(found):
    """What runs instead of the installed ones, with its version."""
    if "KAMSYNC_KAMAILIOS" in os.environ:
        yield f"Kamailio {found['Kamailio']}"
    if "KAMSYNC_STORE" in os.environ:
        yield f"{maker()} {'Cluster ' if MASTERS > 1 else ''}{found[maker()]}"


def load(path):
    with open(path) as file:
        return json.load(file)


def keep(results, path):
    """{part: {test file: {"day", "passed", "failed", "skipped"}}} and the platform's versions."""
    kept = load(path) if os.path.exists(path) else {"parts": {}}
    system = platform.freedesktop_os_release()
    kept["versions"] = versions()
    kept["platform"] = " with ".join(["Debian " + system.get("VERSION_ID", "sid"), *others(kept["versions"])])
    found = {}
    for xml in glob.glob(results + "/*.xml"):
        name = os.path.basename(xml).removesuffix(".xml").removesuffix("-alone")  # of one file there may be tests in both
        files = found.setdefault(name.split("-")[0], {})
        for case in ET.parse(xml).getroot().iter("testcase"):
            counts = files.setdefault(f"{name} {case.get('classname')}",
                                      {"day": str(datetime.date.today()), "passed": 0, "failed": 0, "skipped": 0})
            counts[outcome(case)] += 1
    for name, files in found.items():
        kept["parts"].setdefault(name, {}).update(files)
    with open(path, "w") as file:
        json.dump(kept, file, indent=1)


def cell(files, count_of_files):
    """What became of the tests of a part, and in how many of its files if some were not run."""
    if not files:
        return "not run"
    counts = {name: sum(file[name] for file in files.values()) for name in ("passed", "failed", "skipped")}
    text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return text if len(files) == count_of_files else f"{text}; {len(files)} of {count_of_files} files were run"


def all_files(part, platforms):
    """Those in the repository, and those whose results there are."""
    paths = glob.glob(f"tests/{part}/test_*.py") if part in ("system", "e2e") else []
    return set(part + " " + path[:-3].replace("/", ".") for path in paths).union(*(of["parts"].get(part, {}) for of in platforms))


def table(platforms):
    yield "| platform | " + " | ".join(PARTS) + " | last run |"
    yield "|---" * (len(PARTS) + 2) + "|"
    for of in platforms:
        parts = [of["parts"].get(part, {}) for part in PARTS]
        every = [len(all_files(part, platforms)) for part in PARTS]
        days = {file["day"] for part in parts for file in part.values()}
        yield " | ".join([f"| {of['platform']}", *map(cell, parts, every), f"{max(days)} |"])
    yield ""
    names = [name for name in (*PACKAGES, *COMPILERS) if any(name in of["versions"] for of in platforms)]
    yield "| with | " + " | ".join(names) + " |"
    yield "|---" * (len(names) + 1) + "|"
    for of in platforms:
        yield " | ".join([f"| {of['platform']}", *(of["versions"].get(name, "–") for name in names)]) + " |"


def write(page, paths):
    with open(page) as file:
        before, _, rest = file.read().partition(BEGIN)
    lines = "\n".join(table(sorted(map(load, paths), key=lambda of: of["platform"])))
    with open(page, "w") as file:
        file.write(before + BEGIN + "\n" + lines + "\n\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    command, first, *rest = sys.argv[1:]
    keep(first, rest[0]) if command == "keep" else write(first, rest)
