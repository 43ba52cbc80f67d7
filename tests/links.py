#!/usr/bin/env python3
"""Every place that the documentation names is there: relative links with their headings, and files in backticks, by
their path or, without a folder, by their name. And every page of docs/ that any file names.

Prints what is missing; then the exit status is 1."""
import functools
import os
import re
import subprocess
import sys

ENDINGS = r"\.(?:c|h|py|sh|cfg|md|lua|xml|json|1)"
OTHERS = {"kamailio.cfg", "evapi_dispatch.c"}  # Kamailio's
FOLDERS = ("daemon/", "docs/", "kamailio-cfg/", "proto/", "tests/", "core/", "io/", "ctl/")


@functools.lru_cache
def tracked():
    words = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], check=True,
                           capture_output=True, text=True).stdout.split()
    return frozenset(path for path in words if os.path.exists(path))


def text_of(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def prose(text):
    """Without fenced code, whose lines stay as empty ones."""
    return re.sub(r"^```.*?^```", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)


@functools.lru_cache
def anchors(path):
    """As GitHub makes them of headings."""
    found = set()
    for title in re.findall(r"^#+ +(.*?) *$", prose(text_of(path)), re.M):
        title = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title).lower()
        found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def wrong_link(page, target):
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    there = os.path.normpath(os.path.join(os.path.dirname(page), path)) if path else page
    if not os.path.exists(there):
        return "no such file"
    return "no such heading" if anchor and anchor not in anchors(there) else None


def is_file(page, name):
    """Pages name files from the root, from daemon/, or from their own folder."""
    if "/" not in name:
        return name in OTHERS or any(os.path.basename(path) == name for path in tracked())
    places = ("", "daemon", os.path.dirname(page))
    return not name.startswith(FOLDERS) or any(os.path.exists(os.path.join(place, name)) for place in places)


def complaints_about(page):
    for number, line in enumerate(prose(text_of(page)).splitlines(), 1):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            why = wrong_link(page, target)
            if why:
                yield f"{page}:{number}: {target}: {why}"
        for name in re.findall(rf"`(\w[\w./-]*{ENDINGS})`", line):
            if not is_file(page, name):
                yield f"{page}:{number}: `{name}`: no such file"


def complaints():
    for path in sorted(tracked()):
        if path.endswith(".md"):
            yield from complaints_about(path)
        for page in re.findall(r"\bdocs/[\w/-]+\.md\b", "" if "/corpus/" in path else text_of(path)):
            if not os.path.exists(page):
                yield f"{path}: {page}: no such file"


if __name__ == "__main__":
    lines = list(complaints())
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(1 if lines else 0)
