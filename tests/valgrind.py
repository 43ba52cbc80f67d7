#!/usr/bin/env python3
"""All unit tests under valgrind's memcheck: what the libraries do with our memory, too, which no sanitizer sees.

    valgrind.py BUILD JUNIT [TEST…]

Criterion runs each test in a child, whose exit status nobody looks at, so what counts is whether memcheck wrote anything. A leak
is one when nothing points to it any more at the end of a child."""
import concurrent.futures
import glob
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

MEMCHECK = ['valgrind', '-q', '--trace-children=yes', '--trace-children-skip=*/redis-server,*/valkey-server', '--leak-check=full',
            '--errors-for-leak-kinds=definite,indirect', '--show-leak-kinds=definite,indirect']
PROGRAMS = ('test-', 'fuzz-')  # the others are scripts, and the simulation, which takes too long


def unit_tests(build):
    known = json.loads(subprocess.run(['meson', 'introspect', '--tests', build], capture_output=True, check=True).stdout)
    return {test['name']: test for test in known if os.path.basename(test['cmd'][0]).startswith(PROGRAMS)}


def run(test):
    """What is to be said against it, or an empty text."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run([*MEMCHECK, f'--log-file={directory}/%p', *test['cmd']], env={**os.environ, **test['env']},
                              capture_output=True, text=True, errors='replace', check=False)
        said = ''
        for path in glob.glob(f'{directory}/*'):
            with open(path, errors='replace') as file:
                said += file.read()
    return said or ('' if done.returncode == 0 else done.stdout[-3000:] + done.stderr[-3000:])


def main(build, junit, *names):
    tests, suite, failed = unit_tests(build), ET.Element('testsuite', name='valgrind'), 0
    tests = {name: test for name, test in tests.items() if not names or name in names}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, said in zip(tests, pool.map(run, tests.values())):
            case = ET.SubElement(suite, 'testcase', classname='valgrind', name=name)
            print(f'{name:20} {"FAILED" if said else "ok"}', said[:4000], flush=True)
            if said:
                failed += 1
                ET.SubElement(case, 'failure', message=said.split('\n')[0]).text = said
    ET.ElementTree(suite).write(junit)
    return 1 if failed or not tests else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
