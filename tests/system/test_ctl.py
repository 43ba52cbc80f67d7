"""kamsyncctl: what it asks and what it shows, its command line, completion and manual."""
import base64
import json
import pathlib
import re
import resource
import subprocess

import pytest

from fake_control import ANSWERS, BAD_CHARACTERS, CALL, COMMANDS, T0, TXN, fine, refused, run_ctl, words_of
from harness import REPO, SLOWER

EVIL = 'a\x1b]0;owned\x07\x1b[2J\x00\x7f\x9b31m\u202e\u2066\u200b\r\n\tz'


# What the commands show

def test_status(ask):
    out = fine(ask('status')[0])
    assert out.startswith('kamsyncd 0.1.0, node 1 (a), incarnation 1795229237.904016\n\ncluster     kamsync\nsite        fra\nkamailio    up\n')
    assert 'drained     no\n' in out and 'nodes        2  others alive\n' in out and 'calls       12' in out
    assert re.search(r'^events_in +123456$', out, re.M)


def test_status_before_the_first_hello(ask):
    out = fine(ask('status', answers={'status': {'version': '0.1.0', 'node': 0}})[0])
    assert out.startswith('kamsyncd 0.1.0, node - (-), incarnation -\n')


def test_nodes(ask):
    assert fine(ask('nodes')[0]).splitlines() == [
        'NODE  NAME    SITE  SIP              STATE         LAST BEAT  INCARNATION',
        '   1  a       fra   192.0.2.11:5060  self               0 ms  1795229237.904016',
        '  12  berlin  -     192.0.2.12:5060  out of reach      3.2 s  1795229238.1']


def test_calls(ask):
    result, daemon = ask('calls')
    lines = fine(result).splitlines()
    assert daemon.requests == [{'cmd': 'calls'}]
    assert lines[0].split() == ['STARTED', 'STATE', 'FOR', 'NODE', 'CALLER', 'CALLEE', 'CALL-ID']
    assert lines[1].startswith('2026-11-21 02:47:17  ended ') and lines[1].endswith('sip:bob@b.example  c1@lab')
    assert lines[2].split() == ['-', 'ringing', '-', '1', '-', '-', 'c2@lab']
    assert lines[3] == '2 calls' and len(lines) == 4


def test_calls_filters(ask):
    _, daemon = ask('calls', '--node', '3', '--state=ringing', '--caller', 'al"ice', '--callee', 'bob', '--limit', '7')
    assert daemon.requests == [{'cmd': 'calls', 'node': 3, 'state': 'ringing', 'caller': 'al"ice', 'callee': 'bob',
                                'limit': 7}]


def test_calls_tell_how_many_there_are(ask):
    out = fine(ask('calls', answers={'calls': {'calls': [CALL], 'total': 4711}})[0])
    assert out.endswith('\n1 of 4711 calls; --limit N for more\n')
    assert fine(ask('calls', answers={'calls': {'calls': [], 'total': 0}})[0]) == '0 calls\n'


def test_call(ask):
    result, daemon = ask('call', 'c1@lab')
    out = fine(result)
    assert daemon.requests == [{'cmd': 'call', 'call_id': 'c1@lab'}, {'cmd': 'trace', 'call_id': 'c1@lab'}]
    assert '\n'.join(line.rstrip() for line in out.splitlines()[:9]) == """\
Call-ID    c1@lab
state      ended
started    2026-11-21 02:47:17 +0000

  02:47:17.000        +0 ms  node 1  INVITE
  02:47:17.812      +812 ms  -       ringing
  02:47:17.900      +900 ms  node 2  CANCEL: handed over to node 1
  02:47:20.012     +3012 ms  -       answered
  03:49:23.012  +3726012 ms  node 2  ended: completed, code 200, by callee"""
    for line in ['caller     sip:alice@a.example  (tag ft)', 'PDD        812 ms', 'duration   1:02:03',
                 'ended by   callee', 'nodes      1, 2', 'tenant    müller', 'raw       a\\x00\\xffz']:
        assert line + '\n' in out


def test_call_on_one_node_knows_where(ask):
    call = {name: value for name, value in CALL.items() if name != 'at.1'}
    out = fine(ask('call', 'c1@lab', answers={'call': {'calls': [call]}})[0])
    assert 'node 2  ringing' in out and 'nodes      2\n' in out


def test_call_without_its_trace(ask):
    result, _ = ask('call', 'c1@lab', answers={'trace': {'ok': False, 'error': 'too old'}})
    assert result.returncode == 0 and 'node 1  INVITE' in result.stdout
    assert result.stderr == 'kamsyncctl: too old\n'


@pytest.mark.parametrize('answer', [{}, {'calls': None}, {'calls': []}, {'calls': {}}])
def test_unknown_call(ask, answer):
    result, _ = ask('call', 'no\x1b[1m', answers={'call': answer})
    refused(result, "'no\\x1b[1m'", 'kamsyncctl cdr')
    assert not result.stdout


def test_tx(ask):
    out = fine(ask('tx', 'c1@lab')[0])
    assert out == """\
CSeq 1, branch z9hG4bKr1.1.1
  owner    node 1, incarnation 1795229237.904016
  state    ringing, code 180
  came     udp:198.51.100.11:20001 to udp:192.0.2.1:5060, Via 198.51.100.11:20001
  request  INVITE sip:bob@b.example SIP/2.0 (59 bytes; --json shows it)
  BRANCH  CODE  SENT TO                 FROM                R-URI
       0   503  udp:198.51.100.12:5060  udp:192.0.2.1:5060  sip:bob@198.51.100.12:5060
       1   180  udp:198.51.100.12:5062  udp:192.0.2.1:5060  sip:bob@198.51.100.12:5062
"""
    assert 'secret' in fine(ask('tx', 'c1@lab', '--json')[0])


def test_no_tx_and_no_trace(ask):
    assert fine(ask('tx', 'x', answers={'tx': {'txns': []}})[0]).startswith('No transaction')
    assert fine(ask('trace', 'x', answers={'trace': {'trace': []}})[0]).startswith('No node remembers')


def test_trace(ask):
    assert fine(ask('trace', 'c1@lab')[0]).splitlines() == [
        'TIME          NODE  WHAT',
        '02:47:17.900     2  CANCEL: handed over to node 1']


def test_key(ask):
    assert [line.split() for line in fine(ask('key', 'c1@lab')[0]).splitlines()] == [
        ['tx', 'kamsync:{b2e}:tx:c1@lab:*'], ['call', 'kamsync:{b2e}:call:c1@lab:*'], ['archive', 'kamsync:{b2e}:cdr']]


def test_cdr(ask):
    result, daemon = ask('cdr', '-n', '5')
    lines = fine(result).splitlines()
    assert daemon.requests == [{'cmd': 'cdr', 'count': 5}]
    assert lines[0].split() == ['ENDED', 'DURATION', 'HOW', 'CODE', 'BY', 'CALLER', '->', 'CALLEE', 'CALL-ID']
    assert re.fullmatch('2026-11-21 03:49:23   1:02:03  completed   200  callee   '
                        r'sip:alice@a.example -> sip:bob@b.example +c1@lab', lines[1])


@pytest.mark.parametrize('command', ['drain', 'undrain', 'reload'])
def test_orders(ask, command):
    result, daemon = ask(command)
    assert len(fine(result).splitlines()) == 1 and daemon.requests == [{'cmd': command}]


def test_evacuate(ask):
    result, daemon = ask('drain', '--evacuate')
    assert 'drain --status' in fine(result) and daemon.requests == [{'cmd': 'drain', 'evacuate': True}]


def test_how_far_the_evacuation_is(ask):
    result, daemon = ask('drain', '--status')
    lines = fine(result).splitlines()
    assert daemon.requests == [{'cmd': 'evacuation'}]
    assert [line.split()[:2] for line in lines[:4]] == [['evacuating', 'yes'], ['taken', '980'], ['given', '12'], ['left', '20']]
    assert re.fullmatch('was cancelled, and ends here +8', lines[-1])


def finding(severity):
    return {**ANSWERS['doctor']['findings'][0], 'severity': severity, 'check': f'of_{severity}'}


DOCTOR = """1 error, 2 warnings: 2 nodes answered

NODE  NAME  SIP              KAMAILIO  STORE   CLOCK  VERSION
   1  a     192.0.2.11:5060  up        up          -  0.1.0
   2  b     192.0.2.12:5060  away      up     -1.2 s  0.1.0

error of_error, nodes 1, 2:
  all goes in clear text
  -> let only the nodes reach it
"""


def test_doctor(ask):
    found = [finding(severity) for severity in ('advice', 'warning', 'error', 'warning')]
    result, _ = ask('doctor', answers={'doctor': {**ANSWERS['doctor'], 'findings': found}})
    assert result.returncode == 2 and not result.stderr and result.stdout.startswith(DOCTOR)
    assert re.findall(r'^\w+ of_(\w+)', result.stdout, re.M) == ['error', 'warning', 'warning', 'advice']
    assert result.stdout.endswith('\nLooked at evapi redis\n')


@pytest.mark.parametrize('severities, status, head', [
    ([], 0, 'All is well'), (['advice'], 0, 'All is well'), (['advice', 'warning'], 1, '1 warning'),
    (['error'], 2, '1 error'), (['error', 'warning'], 2, '1 error, 1 warning')])
def test_doctors_exit_status(ask, severities, status, head):
    found = {'doctor': {**ANSWERS['doctor'], 'findings': [finding(severity) for severity in severities]}}
    for form in ([], ['--json']):
        result, _ = ask('doctor', *form, answers=found)
        assert result.returncode == status and not result.stderr
        assert form or result.stdout.startswith(f'{head}: 2 nodes answered\n')


@pytest.mark.parametrize('command', COMMANDS)
def test_json(ask, command):
    out = fine(ask(*words_of(command), '--json')[0])
    assert json.loads(out) == {'ok': True, **ANSWERS[command]}
    assert out.startswith('{\n  "ok": true')


@pytest.mark.parametrize('command', ['calls', 'call', 'trace'])
@pytest.mark.parametrize('silent, words', [([3], 'node 3 did not'), ([2, 3], 'nodes 2, 3 did not')])
def test_silent_nodes(ask, command, silent, words):
    result, _ = ask(*words_of(command), answers={command: {**ANSWERS[command], 'silent': silent}})
    assert result.returncode == 0 and result.stdout and words in result.stderr
    assert result.stderr.count('\n') == 1


# Odd Call-IDs

@pytest.mark.parametrize('call_id', ['with some blanks', '"quotes\'', '100%s%n%d', 'x' * 300, 'back\\slash', '{"a":1}',
                                     'müller\U0001f600', 'line\nfeed', '\x01\x1b'])
@pytest.mark.parametrize('command', ['call', 'tx', 'trace', 'key'])
def test_odd_call_id(ask, command, call_id):
    _, daemon = ask(command, call_id)
    assert daemon.requests[0] == {'cmd': command, 'call_id': call_id}


def test_call_id_that_looks_like_an_option(ask):
    assert ask('call', '--', '--json')[1].requests[0]['call_id'] == '--json'


@pytest.mark.parametrize('raw', [b'a\xff\x80b', b'\xed\xa0\x80', b'\xc0\x80'])
def test_call_id_that_is_not_utf8(ask, raw):
    result, daemon = ask(b'call', raw, answers={'call': {}})
    assert base64.b64decode(daemon.requests[0]['call_id']['base64']) == raw
    refused(result, ''.join(f'\\x{byte:02x}' if byte > 126 else chr(byte) for byte in raw))


def test_call_id_that_is_too_long(ask):
    result, daemon = ask('call', 'x' * 5000)
    refused(result, 'too long', '--help', status=2)
    assert not daemon.requests
    result, daemon = ask('call', 'x' * 4068)  # the longest, with {"cmd":"call","call_id":"…"} and the line feed
    assert len(daemon.lines[0]) == 4096 and result.returncode == 0
    assert ask('call', 'x' * 4069)[0].returncode == 2


# Hostile text

EVIL_CALL = {**{k: EVIL for k in CALL}, 'vars': {EVIL.replace('\0', ''): EVIL, 'b': {'base64': 'G1szMW0='}},
             'trying': T0, 'id': EVIL}
EVIL_ANSWERS = {
    'status': {**{k: EVIL for k in ANSWERS['status']}, 'counters': {EVIL.replace('\0', ''): EVIL}},
    'nodes': {'nodes': [{k: EVIL for k in ANSWERS['nodes']['nodes'][0]}]},
    'calls': {'calls': [EVIL_CALL], 'total': EVIL},
    'call': {'calls': [EVIL_CALL]},
    'tx': {'txns': [{**{k: EVIL for k in TXN}, 'branches': [{k: EVIL for k in ('i', 'to', 'ruri', 'route')}]}]},
    'cdr': {'cdr': [EVIL_CALL]},
    'key': {'tx': EVIL, 'call': EVIL, 'archive': EVIL},
    'trace': {'trace': [{'at': T0, 'node': EVIL, 'text': EVIL}], 'silent': [EVIL]},
    'doctor': {'findings': [{'severity': 'advice', **{k: EVIL for k in ('check', 'what', 'write')}, 'nodes': [EVIL]}],
               'nodes': [{k: EVIL for k in ANSWERS['doctor']['nodes'][1]}], 'looked_at': [EVIL], 'silent': [EVIL]},
}


@pytest.mark.parametrize('locale', ['C', 'C.UTF-8'])
@pytest.mark.parametrize('form', [[], ['--json']])
@pytest.mark.parametrize('command', sorted(EVIL_ANSWERS))
def test_no_control_character_gets_through(ask, command, form, locale):
    result, _ = ask(*words_of(command), *form, answers=EVIL_ANSWERS, env={'LC_ALL': locale})
    assert result.returncode == 0
    for text in (result.stdout, result.stderr):
        assert not BAD_CHARACTERS.search(text), text
    assert 'owned' in result.stdout
    if form:
        assert json.loads(result.stdout) == {'ok': True, **EVIL_ANSWERS[command]}


def test_error_text_is_filtered(ask):
    refused(ask('reload', answers={'reload': {'ok': False, 'error': EVIL}})[0], 'owned')


def test_letters_only_for_a_terminal_that_reads_utf8(ask):
    call = {'call': {'calls': [{**CALL, 'caller': 'sip:jürgen@日本.example'}]}}
    assert 'jürgen@日本' in fine(ask('call', 'x', answers=call)[0])
    assert 'j\\xc3\\xbcrgen@' in fine(ask('call', 'x', answers=call, env={'LC_ALL': 'C'})[0])


@pytest.mark.parametrize('value', [None, True, -1, 2**62, 1e300, 'x', [], [[]], {}, {'base64': '%'}, {'base64': 5}])
@pytest.mark.parametrize('command', sorted(EVIL_ANSWERS))
def test_any_type_anywhere(ask, command, value):
    def spoil(part):
        if isinstance(part, dict):
            return {k: spoil(v) for k, v in part.items()}
        return [spoil(v) for v in part] if isinstance(part, list) else value
    spoilt = {k: spoil(v) for k, v in ANSWERS.items()}
    assert ask(*words_of(command), answers=spoilt)[0].returncode == 0
    flat = {k: {name: value for name in v} for k, v in ANSWERS.items()}
    assert ask(*words_of(command), answers=flat)[0].returncode in (0, 1)


def test_100000_calls(ask):
    rows = [{**CALL, 'call_id': f'{i}@lab'} for i in range(100000)]
    text = json.dumps({'ok': True, 'calls': rows, 'total': 100000}).encode() + b'\n'
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    out = fine(ask('calls', '--limit', '100000', answers={'calls': lambda _: text}, timeout=60)[0])
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert used < 10 * SLOWER, 'with sanitizers it takes three seconds of the processor, else one'
    assert out.count('\n') == 100002 and '99999@lab' in out


# The command line

def test_help_names_every_command():
    out = fine(run_ctl('--help'))
    assert re.findall(r'^  ([a-z]+) ', out, re.M) == COMMANDS
    assert max(len(line) for line in out.splitlines()) <= 120
    assert fine(run_ctl('calls', '-h')) == out


def test_version():
    assert re.fullmatch(r'kamsyncctl \d+\.\d+\.\d+\n', fine(run_ctl('-V')))


@pytest.mark.parametrize('args', [
    [], ['nonsense'], ['--nonsense', 'status'], ['-x', 'status'], ['status', 'surplus'], ['call'], ['call', ''],
    ['call', 'a', 'b'], ['tx'], ['trace'], ['key'], ['calls', '--node'], ['calls', '--node', '0'], ['calls', '--node', '-1'],
    ['calls', '--node', '1x'], ['calls', '--node', '99999999999999999999'], ['calls', '--limit', '0'],
    ['calls', '--state', 'busy'], ['calls', '--watch=0'], ['calls', '--watch=x'], ['calls', '--watch=nan'],
    ['calls', '--watch', '5s'], ['calls', '--watch', 'soon'], ['cdr', '-n'], ['cdr', '-n', '-1'], ['cdr', '-n', 'x'],
    ['cdr', '--state', 'ended'], ['cdr', '--csv'], ['cdr', '--export', ''], ['cdr', '--export', 'x', '-n', '1'], ['calls', '--export', 'x'], ['status', '-f'], ['calls', '-n', '1'], ['nodes', '--watch'], ['-s'],
    ['-s', '', 'status'], ['-s', 'x' * 108, 'status'], ['status', '--json=1'], ['sta\x1b[2Jtus'], [b'\xff']])
def test_bad_command_line(args):
    refused(run_ctl(*args), "'kamsyncctl --help'", status=2)


def test_wrong_environment():
    refused(run_ctl('status', env={'KAMSYNC_SOCKET': 'x' * 200}), '107 bytes', status=2)


# What stands beside the program

def complete(*words):
    """What bash offers for the last of the words."""
    script = """source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_kamsyncctl && printf '%s\\n' "${COMPREPLY[@]}" """
    out = subprocess.run(['bash', '-euc', script, 'bash', f'{REPO}/daemon/ctl/kamsyncctl.bash', 'kamsyncctl', *words],
                         capture_output=True, text=True, check=False)
    assert not out.stderr and out.returncode == 0, out
    return out.stdout.split()


@pytest.mark.parametrize('words, offered', [
    ([''], COMMANDS), (['ca'], ['calls', 'call']), (['--json', 'c'], ['calls', 'call', 'cdr']), (['calls', ''], []),
    (['-s', '/x', 'dr'], ['drain']), (['calls', '--state', ''], ['trying', 'ringing', 'answered', 'ended']),
    (['calls', '--state', 'r'], ['ringing']), (['calls', '--c'], ['--caller', '--callee']),
    (['cdr', '--f'], ['--follow']), (['doctor', '--k'], ['--kamailio']), (['status', '--f'], []), (['calls', '--node', ''], []),
    (['-s', f'{REPO}/daemon/ctl/kamsyncctl.b'], [f'{REPO}/daemon/ctl/kamsyncctl.bash'])])
def test_completion(words, offered):
    assert complete(*words) == offered


def test_completion_and_manual_know_all():
    out = fine(run_ctl('--help'))
    options = set(re.findall(r'--([a-z]+) ', out)) | {'json', 'follow', 'help', 'version'}
    options.discard('help\'')
    manual = pathlib.Path(REPO, 'daemon', 'ctl', 'kamsyncctl.1').read_text().replace('\\-', '-')
    offered = {word[2:] for command in ('calls', 'cdr', 'drain', 'doctor') for word in complete(command, '--')}
    assert offered == options
    for name in options - {'count', 'follow'}:  # the manual has -n and -f
        assert f'--{name}' in manual
    for command in COMMANDS:
        assert re.search(rf'^\.\w+ .*\b{command}\b', manual, re.M)
