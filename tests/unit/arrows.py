#!/usr/bin/env python3
"""Holds the rooms of daemon/core to their order: each knows of those below it only.

    arrows.py SOURCE_ROOT

An arrow goes from a file to another one that it rests on: it names a function which that one defines, includes its header,
or uses e->PART, where that one says what stands in this part of struct engine. x.c and x.h are one file here. What stands in
core/ itself is the hall, above all; but for the outside, the table of contents, and the notices by which a room tells those
above it something, which are below all.

It fails when an arrow runs up, and when files rest on each other in a circle.
"""
import os
import re
import sys

ROOMS = ["base", "sip", "link", "txn", "cluster", "call", "own", "ask", "hall"]  # the lowest first
BELOW_ALL = ("engine", "engine_parts", "notice")
OF_ALL = {"self"}  # parts of struct engine: who this node is

DEFINED = re.compile(r"^(?!static\b|typedef\b|#)[A-Za-z_][^;{}=()]*?\b(\w+)\([^;{}]*?\)\s*\{", re.M)
NAMES = re.compile(r"(?<![\w.>])[a-z]\w+")


def code_of(text):
    """Without comments and texts."""
    pattern = r"""/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'"""
    return re.sub(pattern, lambda m: " " if m[0][0] == "/" else "0", text, flags=re.S)


class Sources:
    def __init__(self, core):
        self.room, self.code, self.includes = {}, {}, {}
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
                found.update((name, stem) for name in DEFINED.findall(code))
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
            for name in set(NAMES.findall(code)) & set(functions) if ext == ".c" else ():
                found.setdefault((stem, functions[name]), set()).add(name + "()")
            for part in set(re.findall(r"\be->(\w+)\b", code)) & set(parts) - OF_ALL:
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


def main(root):
    sources = Sources(os.path.join(root, "daemon", "core"))
    assert set(sources.room.values()) == set(ROOMS), f"rooms: {sorted(set(sources.room.values()))}"
    arrows, level = sources.arrows(), {stem: ROOMS.index(room) for stem, room in sources.room.items()}
    up = [(a, b) for a, b in sorted(arrows) if level[a] < level[b]]
    knots = circles(arrows)
    print(f"{len(arrows)} arrows between {len(sources.room)} files, {len(up)} of them up; "
          f"{sum(map(len, knots))} files in circles")
    for a, b in up:
        print(f"{sources.room[a]}/{a} must not use {sources.room[b]}/{b}, which is above it: {', '.join(sorted(arrows[a, b]))}")
    for knot in knots:
        print("these rest on each other:", *(f"{sources.room[f]}/{f}" for f in knot))
    return 1 if up or knots else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
