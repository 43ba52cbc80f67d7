"""Each counter of daemon/core/base/counters.h has its line in docs/counters.md, with the same words, and nothing else has one; and what
docs/operate.md says to watch is counted."""
import os
import re

REPO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def read(path):
    with open(os.path.join(REPO, path), encoding="utf-8") as file:
        return file.read()


def test_each_counter_is_documented():
    counters = re.findall(r'^ +X\((\w+),\s+"([^"]+)"\)', read("daemon/core/base/counters.h"), re.M)
    assert len(counters) > 40
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", read("docs/counters.md"), re.M) == counters


def test_what_the_text_names_are_counters():
    names = re.findall(r"^ +X\((\w+),", read("daemon/core/base/counters.h"), re.M)
    text = read("docs/counters.md").split("| counter |")[0]
    assert set(re.findall(r"`([a-z]+_[a-z_]+|hangs)`", text)) <= set(names)


def test_what_operators_are_told_to_watch_is_counted():
    names = re.findall(r"^ +X\((\w+),", read("daemon/core/base/counters.h"), re.M)
    part = read("docs/operate.md").split("## What to watch")[1].split("\n## ")[0]
    watched = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \| ", part, re.M)))
    assert len(watched) > 10
    assert set(watched) <= set(names)
