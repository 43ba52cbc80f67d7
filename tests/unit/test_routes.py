"""The table at the top of each file of routes (kamailio-cfg) says what the file's routes take, give and end, and every route that is
called exists."""
import pathlib
import re

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "kamailio-cfg"
FILES = [FOLDER / "kamsync.cfg", *sorted((FOLDER / "kamsync").glob("*.cfg"))]
ROUTE = re.compile(r"^(\w*route)(?:\[([^]]+)])? \{\n(.*?)^\}", re.M | re.S)
CALL = re.compile(r'\broute(?:_if_exists)?\("?(\w+)"?\)')
VARIABLE = re.compile(r"\bvar\((ks_\w+)\)|\bxavp\((kamsync\w*)")
SET = re.compile(r"\s*\$(?:var\((ks_\w+)\)|xavp\((kamsync\w*)\[\*\]\)) = ")
# the user's own
OPTIONAL = {"KAMSYNC_RESUME", "KAMSYNC_PASSED"}


def name_of(kind, name):
    return name if name and kind == "route" else f"{kind}[{name}]" if name else kind


def code(body):
    """Without comments and preprocessor lines; no string of ours has a # in it."""
    return [line.split("#")[0] for line in body.split("\n")]


def routes(path):
    return {name_of(kind, name): code(body) for kind, name, body in ROUTE.findall(path.read_text())}


def variables(text):
    return {a or b for a, b in VARIABLE.findall(text)}


def table(path):
    """[(route, {takes, gives, exits}), …]: what its table says."""
    rows = re.findall(r"^# ([^|\n]+)\|([^|\n]*)\|([^|\n]*)\|(.*)$", path.read_text(), re.M)
    assert [cell.strip() for cell in rows[0]] == ["route", "takes", "gives", "exits?"]
    named = re.compile(r"\bks_\w+|\bkamsync\w*")
    return [(route.strip(), {"takes": set(named.findall(takes)), "gives": set(named.findall(gives)),
                             "exits": set(re.findall(r"\w+", exits))}) for route, takes, gives, exits in rows[2:]]


ROUTES = {name: lines for path in FILES for name, lines in routes(path).items()}
SAID = {name: said for path in FILES for name, said in table(path)}
KEPT = set(re.findall(r"\bks_\w+", re.search(r"^# What a process keeps.*?\n\n", FILES[0].read_text(), re.M | re.S)[0]))
CONSTANT = set(re.findall(r'"varset", "(ks_\w+)=', (FOLDER / "kamsync" / "modules.cfg").read_text()))


def ends(name):
    """How the route may end the script, by itself or by those that it calls."""
    text = "\n".join(ROUTES[name])
    own = set(re.findall(r"\b(exit|drop);", text)) | ({"tm"} if re.search(r"\bt_(check_trans|newtran)\(", text) else set())
    return own.union(*(ends(callee) for callee in CALL.findall(text) if callee in ROUTES))


def written(name):
    """What the route sets, and those that it calls."""
    own = {a or b for line in ROUTES[name] for a, b in SET.findall(line) if SET.match(line)}
    return own.union(*(written(callee) for callee in CALL.findall("\n".join(ROUTES[name])) if callee in ROUTES))


def unset(name):
    """What is read in the text of the route before it is set there, or given by a route that is called before. What a called route
    sets and does not give is lost to the block of the call: it used the name for something else."""
    wanted, known, lost = set(), set(), []
    for line in ROUTES[name]:
        depth = len(line) - len(line.lstrip("\t"))
        while lost and line.strip() and depth < lost[-1][0]:
            known |= lost.pop()[1]
        target = SET.match(line)
        wanted |= variables(line[target.end():] if target else line) - known
        if target:
            known |= variables(target[0])
        for callee in filter(ROUTES.get, CALL.findall(line)):
            wanted |= SAID[callee]["takes"] - known
            lost.append((depth, known & written(callee) - SAID[callee]["gives"]))
            known = known - lost[-1][1] | SAID[callee]["gives"]
    return wanted - KEPT - CONSTANT


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_table_names_its_files_routes(path):
    assert [name for name, _ in table(path)] == list(routes(path))


def test_what_is_called_exists():
    called = {callee for lines in ROUTES.values() for callee in CALL.findall("\n".join(lines))}
    assert len(called) > 60
    assert called - OPTIONAL <= set(ROUTES)
    armed = set(re.findall(r't_on_branch\("(\w+)"\)', "".join(path.read_text() for path in FILES)))
    assert armed and {f"branch_route[{name}]" for name in armed} <= set(ROUTES)


def test_what_is_kept_is_used():
    assert KEPT and KEPT <= set().union(*map(written, ROUTES))


@pytest.mark.parametrize("name", ROUTES)
def test_a_row_is_true(name):
    said, text = SAID[name], "\n".join(ROUTES[name])
    callees = [SAID[callee] for callee in CALL.findall(text) if callee in SAID]
    assert said["exits"] == ends(name)
    assert unset(name) <= said["takes"] <= variables(text).union(*(callee["takes"] for callee in callees))
    assert said["gives"] <= written(name)
