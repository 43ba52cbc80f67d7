#!/usr/bin/env python3
"""./dev bench: runs the parts of this folder one after the other.

    ./dev bench [PART…] [--quick | --full] [--write] [--on debian13] [option of the part…]

Parts: call, highest, instructions (Kamailio's, under callgrind), stray, window, ingest, memory, growth, commands (Redis'), nodes, count
(the budget), scale (a table of the others' figures), and whatever else stands here with an __main__. Without PART all of them,
with --quick the main ratios in some minutes. --write puts what they print into docs/performance.md (scale: docs/scale.md), each
part in its own place; the rest of that page is left alone. --on measures in a root of that Debian, which has a place of its own.
"""
import os
import re
import subprocess
import sys

import measure

PARTS = ('call', 'highest', 'instructions', 'stray', 'window', 'ingest', 'memory', 'growth', 'commands', 'nodes', 'count', 'scale')
QUICK = ('call', 'highest', 'stray', 'ingest', 'count')
PAGES = {'scale': 'scale.md'}  # of all others: performance.md


def known():
    """The parts: what can be run in this folder."""
    found = []
    for name in sorted(os.listdir(measure.HERE)):
        if not name.endswith('.py') or name == 'run.py':
            continue
        with open(os.path.join(measure.HERE, name)) as file:
            if '__main__' in file.read():
                found.append(name[:-3])
    return found


def run(part, words):
    """The part's text; it is shown as it comes."""
    print(f'== {part}', file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, '-B', os.path.join(measure.HERE, f'{part}.py'), *words],
                          stdout=subprocess.PIPE, text=True)
    print(done.stdout, flush=True)
    return done.stdout, done.returncode


def write(part, text, where):
    """Puts the text between the part's marks in the page."""
    there = f' --on {measure.PLATFORM}' if measure.PLATFORM else ''
    begin, end = f'<!-- {part}{there}: written by ./dev bench {part}{there} --write -->', f'<!-- end of {part}{there} -->'
    block = f'{begin}\n\n_{where}_\n\n{text.strip()}\n\n{end}'
    path = os.path.join(measure.REPO, 'docs', PAGES.get(part, 'performance.md'))
    with open(path) as file:
        page = file.read()
    if begin in page:
        page = re.sub(re.escape(begin) + '.*?' + re.escape(end), lambda _: block, page, flags=re.S)
    else:
        page = page.rstrip('\n') + f'\n\n{block}\n'
    with open(path, 'w') as file:
        file.write(page.lstrip('\n'))


def main():
    words = sys.argv[1:]
    parts = []
    while words and not words[0].startswith('-'):
        parts.append(words.pop(0))
    if '--help' in words or '-h' in words:
        print(__doc__)
        return 0
    wrong = [part for part in parts if part not in known()]
    if wrong:
        print(f'./dev bench: unknown part {wrong[0]}; there are: {", ".join(known())}', file=sys.stderr)
        return 2
    failed = 0
    keep = '--write' in words
    words = [word for word in words if word != '--write']
    for part in parts or (QUICK if '--quick' in words else PARTS):
        where = measure.machine()
        text, code = run(part, words)
        failed = failed or code
        if keep and not code:
            write(part, text, where)
    return failed


if __name__ == '__main__':
    sys.exit(main())
