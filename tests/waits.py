"""A test waits for all of what a call returns: if that is nothing yet, all() is true at once. lab.proc.each() is the cure."""
import ast
import pathlib
import sys

ALWAYS_THERE = ('values', 'items')    # of a dictionary that the test has made


def is_call(node, *names):
    return isinstance(node, ast.Call) and getattr(node.func, 'id', getattr(node.func, 'attr', None)) in names


def hasty(tree):
    """The lines of wait_until(lambda: … all(… for … in call()) …)."""
    for wait in ast.walk(tree):
        if not is_call(wait, 'wait_until') or not isinstance(wait.args[0], ast.Lambda):
            continue
        for each in ast.walk(wait.args[0]):
            if is_call(each, 'all') and isinstance(each.args[0], ast.GeneratorExp):
                if any(isinstance(g.iter, ast.Call) and not is_call(g.iter, *ALWAYS_THERE) for g in each.args[0].generators):
                    yield each.lineno


if __name__ == '__main__':
    found = [f'{path}:{line}' for path in sorted(pathlib.Path('tests').rglob('*.py'))
             for line in hasty(ast.parse(path.read_text()))]
    sys.exit(f'{", ".join(found)}: all() of nothing is true; lab.proc.each() is not' if found else 0)
