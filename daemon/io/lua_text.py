#!/usr/bin/env python3
"""A Lua script for Redis as a C text, NAME_lua for NAME.lua.

    lua_text.py NAME.lua OUT.c

Comments that have a line of their own, and indentation, are not sent; but the lines stay, so that the one which Redis
names in an error is that of the file.
"""
import os
import sys


def sent(lua):
    lines = (line.strip() for line in lua.splitlines())
    return "".join("\n" if line.startswith("--") else line + "\n" for line in lines)


def c_text(line):
    return '    "' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"\n'


def main(path, out):
    name = os.path.basename(path).replace(".", "_")
    with open(path, encoding="utf-8") as file:
        text = sent(file.read())
    text.encode("ascii")  # what is sent is plain
    with open(out, "w", encoding="ascii") as file:
        file.write(f"extern const char {name}[];\nconst char {name}[] =\n{''.join(map(c_text, text.splitlines()))};\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
