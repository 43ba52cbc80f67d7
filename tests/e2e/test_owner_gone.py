"""The owner of a ringing call is gone: what do the caller and the phones see, whichever message comes next?

Each test is one cell of the table: a message, the owner's fate, the shape of the call. $KAMSYNC_OWNER_TABLE names a file
for the table as Markdown.
"""

import pytest

from lab import owner_gone, tables
from lab.owner_gone import CANNOT, FATES, ROWS, SHAPES

_outcomes = {}


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    text = owner_gone.table(_outcomes)
    print(f'\n{text}')
    tables.write(text, 'KAMSYNC_OWNER_TABLE')


@pytest.fixture(scope='module', params=FATES)
def fate(request):
    """All calls of one fate, at once; the tests then look at what became of them."""
    _outcomes[request.param] = owner_gone.run(request.param)
    return request.param


@pytest.mark.parametrize('row', ROWS)
@pytest.mark.parametrize('shape', SHAPES)
def test_cell(fate, shape, row):
    for cell in _outcomes[fate][row, shape]:
        if cell.failure and fate in CANNOT:
            pytest.xfail(f'{cell.failure}: {CANNOT[fate]}')
        assert not cell.failure, cell.trace
