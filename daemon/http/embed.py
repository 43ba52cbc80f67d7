#!/usr/bin/env python3
"""The files of the page as C: what page.h declares.

    embed.py FILE… OUT.c

index.html is at "/", each other file at "/page/NAME".
"""
import os
import sys

TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def row(path):
    name = os.path.basename(path)
    with open(path, "rb") as file:
        data = file.read()
    data.decode("utf-8")
    text = ",".join(str(byte - 256 if byte > 127 else byte) for byte in data)
    url = "/" if name == "index.html" else f"/page/{name}"
    return f'    {{"{url}", "{TYPES[os.path.splitext(name)[1]]}", (const char[]){{{text}}}, {len(data)}}},\n'


def main(*files, out):
    with open(out, "w", encoding="ascii") as file:
        file.write('#include "page.h"\n\nconst struct page page_files[] = {\n')
        file.writelines(map(row, files))
        file.write("    {NULL, NULL, NULL, 0}};\n")


if __name__ == "__main__":
    main(*sys.argv[1:-1], out=sys.argv[-1])
