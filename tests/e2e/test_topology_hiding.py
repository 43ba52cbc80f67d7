"""Kamailio does not start with kamsync.cfg and a module that rewrites what one node hands to another byte for byte."""
import os
import subprocess

import pytest

from lab.cluster import CONFIG
from lab.kamailios import kamailio_of


def check(tmp_path, module, config=CONFIG):
    """Kamailio's own check of node.cfg, with that module loaded above kamsync.cfg."""
    modules = tmp_path / 'modules.cfg'
    modules.write_text(f'loadmodule "{module}.so"\n')
    defines = {'NODE_ID': '1', 'NODE_IP': '"127.0.0.2"', 'ANYCAST_IP': '"127.0.0.3"', 'GATEWAY': '"127.0.0.4:5060"'}
    return subprocess.run([*kamailio_of(), '-M', '16', '-c', '-f', str(config), f'--substdef=!KAMSYNC_MODULES!{modules}!g',
                           *(part for name, value in defines.items() for part in ('-A', f'{name}={value}'))],
                          capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize('module', ['topoh', 'topos'])
def test_it_does_not_start(tmp_path, module):
    done = check(tmp_path, module)
    assert done.returncode != 0
    assert f'kamsync does not work with {module}: hide the topology on another proxy' in done.stderr


def test_any_other_module_may_be_there(tmp_path):
    """So that the tests above can fail."""
    done = check(tmp_path, 'kex')
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize('module, needed', [('topoh', 'topoh:msg-incoming'), ('topos', 'topos:msg-incoming')])
def test_which_events_a_module_has(module, needed):
    """What a node is handed would have to come in past the module, which needs an event for what comes in: topos has it, topoh has not."""
    path = f'{os.environ.get("KAMAILIO_MODULES", "/usr/lib/x86_64-linux-gnu/kamailio/modules")}/{module}.so'
    with open(path, 'rb') as file:
        assert (needed.encode() in file.read()) == (module == 'topos')
