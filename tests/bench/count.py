#!/usr/bin/env python3
"""The budget: what an ordinary call costs that can be counted, the same on a busy machine, against the committed figures: instructions of
kamsyncd's pure parts and of Kamailio's SIP processes, under callgrind, what a real Kamailio says over evapi, and what Redis is asked.

    count.py [--renew] [--junit FILE]

Fails when a part takes over 10 % more than budget.json says. Is that meant so, then `./dev bench count --renew`
writes the new figures; commit them with the change and say why. Instructions hold for gcc and this buildtype only, and each
distribution has its own, with its compiler and libraries; on one that has none, all parts are skipped.
"""
import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET

import budget
import measure
from measure import Report

FIGURES = os.path.join(measure.HERE, 'budget.json')
LIMIT = 1.10
PARTS = {'frame': 'a frame with one branch event is read', 'msg': 'its JSON becomes an event',
         'record': 'a record is written', 'lookup': "a stray's identity and key are read",
         'call': 'an ordinary call goes through the engine (5 events)',
         'kamailio': "Kamailio's SIP processes at an ordinary call (with -x tlsf)",
         'evapi_events': 'over evapi: events of an ordinary call', 'evapi_bytes': 'over evapi: bytes to kamsyncd of an ordinary call',
         'redis_scripts': 'Redis: scripts of an ordinary call', 'redis_commands': 'Redis: commands, with those that scripts call',
         'redis_bytes': 'Redis: bytes to it'}
COUNTED = ('frame', 'msg', 'record', 'lookup', 'call')   # by callgrind
FEW, MANY = 20, 120


def instructions(part, times):
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(['valgrind', '--tool=callgrind', f'--callgrind-out-file={directory}/out',
                               measure.tool('pure'), part, str(times)], capture_output=True, text=True)
        found = re.search(r'Collected : (\d+)', done.stderr)
        if done.returncode or not found:
            raise RuntimeError(f'valgrind {part}: {done.stderr[-500:]}')
        return int(found[1])


def count(part):
    """Instructions of one: the difference between two runs."""
    return (instructions(part, MANY) - instructions(part, FEW)) / (MANY - FEW)


def counted():
    found = {part: round(count(part)) for part in COUNTED}
    found['call'] -= round(count('script'))  # the making of its events
    return found | {part: round(value) for part, value in (budget.kamailio() | budget.evapi() | budget.redis()).items()}


def junit(path, now, kept):
    suite = ET.Element('testsuite', name='count')
    for part, value in now.items():
        case = ET.SubElement(suite, 'testcase', classname='count', name=part)
        if not kept:
            ET.SubElement(case, 'skipped', message=f'no figures for {distribution()}')
        elif part not in kept or value > LIMIT * kept[part]:
            text = (f'{PARTS[part]}: {value}, {kept.get(part)} are committed. If that is meant so: '
                    './dev bench count --renew, and commit tests/bench/budget.json')
            ET.SubElement(case, 'failure', message=text).text = text
    ET.ElementTree(suite).write(path)


def distribution():
    system = platform.freedesktop_os_release()
    return f'{system["ID"]} {system.get("VERSION_ID", "sid")}'


def committed():
    """{distribution: {part: instructions}}"""
    with open(FIGURES) as file:
        return json.load(file)


def renew(now):
    figures = committed() | {distribution(): now}
    with open(FIGURES, 'w') as file:
        json.dump(figures, file, indent=2)
        file.write('\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--renew', action='store_true')
    parser.add_argument('--junit')
    options, _ = parser.parse_known_args()
    now = counted()
    if options.renew:
        renew(now)
    kept = committed().get(distribution(), {})
    worse = [part for part in now if kept and (part not in kept or now[part] > LIMIT * kept[part])]
    report = Report('The budget')
    report.table(['', 'now', 'committed', 'change'],
                 [[PARTS[part], value, kept.get(part, '-'),
                   f'{100 * (value / kept[part] - 1):+.1f} %' if part in kept else '-'] for part, value in now.items()])
    if worse:
        report.text(f'More than 10 % over the committed figures: {", ".join(worse)}. If that is meant so: '
                    '`./dev bench count --renew`, and commit `tests/bench/budget.json`.')
    report.show()
    if options.junit:
        junit(options.junit, now, kept)
    return 1 if worse else 0


if __name__ == '__main__':
    sys.exit(main())
