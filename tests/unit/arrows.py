#!/usr/bin/env python3
"""Holds the rooms of daemon/core to their order: each knows of those below it only.

    arrows.py SOURCE_ROOT [--show]

An arrow goes from a file to another one that it rests on: it calls a function which that one defines, or includes its
header (x.c and x.h are one file here, and so is what a room keeps in struct engine: to use e->PART is an arrow to the
room's parts). What stands in core/ itself is the hall, above all; but for engine.h and engine_parts.h, which are the
outside and the table of contents, and below all.

It fails when an arrow runs up that EXCEPTIONS does not name, or a circle of files is not one of CIRCLES; and when what
these name is gone, so they get shorter only.
"""
import os
import re
import sys

ROOMS = ["base", "sip", "link", "txn", "cluster", "call", "own", "ask", "hall"]  # the lowest first
BELOW_ALL = ("engine", "engine_parts", "notice")

# What still runs up: FILE -> FILE. Take out what is gone; add nothing.
EXCEPTIONS = """
"""

# Files of one room of which each rests on all others.
CIRCLES = """
calls calls_write lapse legs
"""

WORDS = re.compile(r"(?<![\w.>])(\w+)\s*\(")
# Without a call: a function that is handed on.
HANDED = re.compile(r"(?<![\w.>])(\w+)\b(?!\s*\()")


def code_of(text):
    """Without comments and texts."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', lambda m: " " if m[0][0] == "/" else "0", text, flags=re.S)


class Sources:
    def __init__(self, core):
        self.room, self.code, self.includes, self.where = {}, {}, {}, {}
        for folder, _, names in sorted(os.walk(core)):
            for name in sorted(names):
                stem, ext = os.path.splitext(name)
                if ext in (".c", ".h"):
                    with open(os.path.join(folder, name), encoding="utf-8") as file:
                        self.add(os.path.basename(folder) if folder != core else "hall", stem, ext, file.read())

    def add(self, room, stem, ext, text):
        assert self.room.setdefault(stem, room) == room, f"{stem} stands in two rooms"
        self.code[stem, ext] = code_of(text)
        self.includes.setdefault(stem, set()).update(re.findall(r'^#include "(\w+)\.h"', text, re.M))

    def is_room(self, stem):
        return stem not in BELOW_ALL

    def functions(self):
        """Which file defines each function that others can call."""
        found = {}
        for (stem, ext), code in self.code.items():
            if ext == ".c":
                for name in re.findall(r"^(?!static\b|typedef\b|struct \w+ \{|#)[A-Za-z_][^;{}=()]*?\b(\w+)\([^;{}]*?\)\s*\{", code, re.M):
                    found[name] = stem
        return found

    def parts(self):
        """Which file says what stands in each part of struct engine: the one that defines its type."""
        types = {t: stem for (stem, ext), code in self.code.items() if ext == ".h"
                 for t in re.findall(r"^struct (\w+) \{", code, re.M)}
        body = re.search(r"^struct engine \{(.*?)^\}", self.code["engine_parts", ".h"], re.M | re.S)[1]
        found = {}
        for type_, names in re.findall(r"struct (\w+) ([^;]+);", body):
            for name in names.split(","):
                if type_ in types and self.is_room(types[type_]):
                    found[name.strip(" *")] = types[type_]
        return found

    def arrows(self):
        """(file, file): why."""
        functions, parts, found = self.functions(), self.parts(), {}
        for (stem, ext), code in self.code.items():
            for include in self.includes[stem]:
                if include in self.room:
                    found.setdefault((stem, include), set()).add(f'"{include}.h"')
            words = set(WORDS.findall(code)) | set(HANDED.findall(code)) if ext == ".c" else ()
            for word in set(words) & set(functions):
                found.setdefault((stem, functions[word]), set()).add(word + "()")
            for part in set(re.findall(r"\be->(\w+)\b", code)) & set(parts) - {"self"}:
                found.setdefault((stem, parts[part]), set()).add("e->" + part)
        return {(a, b): why for (a, b), why in found.items() if a != b and self.is_room(a) and self.is_room(b)}


def circles(arrows):
    """Those sets of files of which each rests on all others (Tarjan)."""
    to, index, low, stack, found = {}, {}, {}, [], []
    for a, b in arrows:
        to.setdefault(a, []).append(b)

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in to.get(v, ()):
            if w not in index:
                visit(w)
            if w in stack:
                low[v] = min(low[v], low[w])
        if low[v] == index[v]:
            at = stack.index(v)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]
    for v in sorted(to):
        if v not in index:
            visit(v)
    return found


def main(root, *options):
    sources = Sources(os.path.join(root, "daemon", "core"))
    assert set(sources.room.values()) == set(ROOMS), f"rooms: {sorted(set(sources.room.values()))}"
    arrows, level = sources.arrows(), {s: ROOMS.index(r) for s, r in sources.room.items()}
    up = {(a, b) for a, b in arrows if level[a] < level[b]}
    known = {tuple(line.split(" -> ")) for line in EXCEPTIONS.split("\n") if line}
    known_knots = [line.split() for line in CIRCLES.split("\n") if line]
    between = {(sources.room[a], sources.room[b]) for a, b in arrows if sources.room[a] != sources.room[b]}
    knots = circles(arrows)
    print(f"{len(arrows)} arrows between {len(sources.room)} files, {len(up)} of them up; {sum(map(len, knots))} files in circles of "
          f"{', '.join(str(len(k)) for k in knots) or 'none'}; circles of rooms: {circles(between) or 'none'}")
    if "--show" in options:
        for a, b in sorted(up, key=lambda x: (level[x[0]], level[x[1]], x)):
            print(f"{sources.room[a]:8} {sources.room[b]:8} {a} -> {b}   {' '.join(sorted(arrows[a, b]))}")
        for knot in knots:
            print("circle:", *(f"{sources.room[f]}/{f}" for f in sorted(knot, key=lambda f: level[f])))
    for a, b in sorted(up - known):
        print(f"{sources.room[a]}/{a} must not use {sources.room[b]}/{b}, which is above it: {', '.join(sorted(arrows[a, b]))}")
    for a, b in sorted(known - up):
        print(f"{a} -> {b} is gone: take it out of EXCEPTIONS")
    for knot in knots:
        if knot not in known_knots:
            print("a circle that CIRCLES does not name:", *knot)
    for knot in known_knots:
        if knot not in knots:
            print("that circle is another one now, or gone: say so in CIRCLES:", *knot)
    return 0 if up == known and sorted(knots) == sorted(known_knots) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
