"""Tables that tests print, for whoever wants them in a file."""
import itertools
import os


def _lines(path):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return file.read().splitlines(keepends=True)


def _around(path, heading):
    """What stands before, in and behind the table below that heading; without one, all from the first table on is the table."""
    lines = _lines(path)
    begin = lines.index(f'{heading}\n') if heading else 0
    first = next((i for i in range(begin, len(lines)) if lines[i].startswith('|')), len(lines))
    table = list(itertools.takewhile(lambda line: not heading or line.startswith('|'), lines[first:]))
    return lines[:first], table, lines[first + len(table):]


def rows_below(heading, variable):
    """The rows of the table there, by their first cell."""
    path = os.environ.get(variable)
    table = _around(path, heading)[1] if path else []
    rows = [[cell.strip() for cell in line.strip().strip('|').split(' | ')] for line in table[2:]]
    return {row[0]: row[1:] for row in rows}


def write(text, variable, heading=None):
    """Into the file that this environment variable names, if it does, in place of the table below that heading. Without one, below
    the words above the first table."""
    path = os.environ.get(variable)
    if path:
        before, _, behind = _around(path, heading)
        with open(path, 'w') as file:
            file.write(''.join([*before, text, *behind]))
