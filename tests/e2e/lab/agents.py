"""Real user agents as the callee: each starts at a port of the gateway, rings when it is called, and does as it is told.

    agent = BaresipAgent(lab, 5060, 'answers', 'tcp')
    agent.user                                   # whom to dial
    agent.answer(), agent.reject()
    BaresipAgent.version()                       # '' if it is not installed
"""
import glob
import os
import re
import shutil
import socket
import subprocess
import wave

from lab import netns
from lab.cluster import CFG
from lab.kamailios import versions
from lab.phone import Callees
from lab.sipp import Gateway

PAUSE_MS, IDLE_MS = 4000, 40000      # SIPp answers by itself: so long after its 180


def _said(*argv):
    """The version that a program tells, '' if there is no such program."""
    if not shutil.which(argv[0]):
        return ''
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    found = re.search(r'v?(\d+\.\d+[\w.]*)', done.stdout + done.stderr)
    return found[1] if found else 'unknown'


class Agent:
    name = ''
    transports = ('udp', 'tcp')
    to_old_port = False      # over TCP it connects to the port that the closed connection came from
    user, rejects_with, idle_ends_with = 'agent', 486, 200

    def answer(self):
        raise NotImplementedError

    def reject(self):
        raise NotImplementedError

    def close(self):
        """What the lab does not end."""


class SippAgent(Agent):
    """It follows a scenario, and needs no order."""
    name, check = 'SIPp, `-rtcheck loose`', 'loose'

    def __init__(self, lab, port, case, over):
        self.user = 'ring1' if case == 'the caller cancels' else 'answer1'
        Gateway(lab, port, pause=IDLE_MS if case == 'idle for 40 s' else PAUSE_MS, options=('-rtcheck', self.check),
                scenario='ring_busy' if case == 'rejects' else 'gateway', over=over)

    @staticmethod
    def version():
        return _said('sipp', '-v')

    def answer(self):
        pass

    reject = answer


class StrictSippAgent(SippAgent):
    name, check, transports = 'SIPp, `-rtcheck full` (its default)', 'full', ('udp',)   # over TCP nothing is repeated


class KamailioAgent(Agent):
    """A proxy, and a phone behind it."""
    name = 'Kamailio as the next proxy'

    def __init__(self, lab, port, case, over):
        address = lab.address('gateway')
        self.phone = Callees(lab, ports=(port + 2000,), on_invite=self._rings)
        lab.kamailio('gateway', f'{CFG}/far_proxy.cfg', {'LISTEN': f'{address}:{port}', 'PHONE': f'"{address}:{port + 2000}"'},
                     name=f'proxy-{port}', port=port)

    @staticmethod
    def version():
        return '.'.join(map(str, versions()[0]))

    def _rings(self, leg):
        self.leg = leg
        leg.ring()

    def answer(self):
        self.leg.answer()

    def reject(self):
        self.leg.reject(486)

    def close(self):
        self.phone.close()


class BaresipAgent(Agent):
    """Told what to do over its module `ctrl_tcp`."""
    name = 'baresip'

    def __init__(self, lab, port, case, over):
        self.lab, self.control = lab, port + 1000
        folder = lab.new_directory('baresip')
        with open(f'{folder}/config', 'w') as file:
            file.write('\n'.join([
                f'sip_listen {lab.address("gateway")}:{port}', 'call_local_timeout 120', 'module_path /usr/lib/baresip/modules',
                f'audio_source aufile,{folder}/silence.wav', 'module g711.so', 'module aufile.so', 'module_app account.so',
                'module_app menu.so', 'module_app ctrl_tcp.so', f'ctrl_tcp_listen 127.0.0.1:{self.control}', '']))
        with wave.open(f'{folder}/silence.wav', 'wb') as sound:
            sound.setparams((1, 2, 8000, 0, 'NONE', ''))
            sound.writeframes(bytes(16000 * 10))
        with open(f'{folder}/accounts', 'w') as file:
            file.write(f'<sip:agent-{port}@{lab.address("gateway")}:{port};transport={over}>;regint=0;answermode=manual\n')
        self.proc = lab.start('gateway', f'baresip-{port}', ['baresip', '-f', folder])
        self.proc.wait_socket(over, port)

    @staticmethod
    def version():
        return _said('baresip', '-h')

    def _command(self, command):
        def say():
            with socket.create_connection(('127.0.0.1', self.control), timeout=5) as sock:
                text = f'{{"command":"{command}"}}'
                sock.sendall(f'{len(text)}:{text},'.encode())
                sock.recv(1000)
        netns.inside(self.lab.namespace('gateway'), say)

    def answer(self):
        self._command('accept')

    def reject(self):
        self._command('hangup')


class PipedAgent(Agent):
    """Told what to do over its standard input, a FIFO."""
    orders = 'answer', 'reject'

    def start(self, lab, name, command, **env):
        folder = lab.new_directory(name)
        os.mkfifo(f'{folder}/in')
        self.input = os.open(f'{folder}/in', os.O_RDWR)
        return lab.start('gateway', name, ['sh', '-c', f'exec {command} < {folder}/in'], env=env)

    def say(self, command):
        os.write(self.input, f'{command}\n'.encode())

    def answer(self):
        self.say(self.orders[0])

    def reject(self):
        self.say(self.orders[1])

    def close(self):
        os.close(self.input)


class LinphoneAgent(PipedAgent):
    """It gives up by itself after some 20 s, with a 503."""
    name, rejects_with, idle_ends_with = 'linphone', 603, 500
    orders = 'answer', 'terminate'

    def __init__(self, lab, port, case, over):
        folder = lab.new_directory('linphone')
        with open(f'{folder}/rc', 'w') as file:
            file.write(f'[sip]\nsip_port={port}\nsip_tcp_port={port}\nsip_tls_port=0\nuse_ipv6=0\ninc_timeout=120\nin_call_timeout=0\n'
                       f'contact="agent" <sip:agent-{port}@{lab.address("gateway")};transport={over}>\n'
                       f'[rtp]\naudio_rtp_port={port + 3000}\n[video]\nenabled=0\n')
        os.makedirs(f'{folder}/.local/share/linphone')
        self.start(lab, f'linphone-{port}', f'linphonec -c {folder}/rc', HOME=folder).wait_socket(over, port)
        self.say('soundcard use files')

    @staticmethod
    def version():
        return _said('linphonec', '-v')


class TwinkleAgent(PipedAgent):
    name = 'twinkle'

    def __init__(self, lab, port, case, over):
        folder = lab.new_directory('twinkle')
        os.makedirs(f'{folder}/.twinkle')
        with open(f'{folder}/.asoundrc', 'w') as file:
            file.write('pcm.!default {\n\ttype null\n}\n')
        with open(f'{folder}/.twinkle/agent.cfg', 'w') as file:
            file.write(f'user_name=agent-{port}\nuser_domain={lab.address("gateway")}\nregister_at_startup=no\n'
                       f'sip_transport={over}\ntimer_noanswer=120\n')
        with open(f'{folder}/.twinkle/twinkle.sys', 'w') as file:
            file.write(f'sip_port={port}\nrtp_port={port + 3000}\nvalidate_audio_dev=no\nplay_ringtone=no\nplay_ringback=no\n'
                       'start_user_profile=agent\n')
        self.start(lab, f'twinkle-{port}', 'twinkle-console', HOME=folder).wait_socket(over, port)

    @staticmethod
    def version():
        return _said('dpkg-query', '-W', 'twinkle-console') if shutil.which('twinkle-console') else ''


class SofiaAgent(PipedAgent):
    """tools/sofia_agent.c, compiled once for a lab."""
    name, to_old_port = 'sofia (as in FreeSWITCH)', True

    def __init__(self, lab, port, case, over):
        program = f'{lab.directory}/sofia_agent'
        if not os.path.exists(program):
            source = os.path.join(os.path.dirname(CFG), 'tools/sofia_agent.c')
            flags = subprocess.run(['pkg-config', '--cflags', '--libs', 'sofia-sip-ua'], capture_output=True, text=True, check=True)
            subprocess.run(['cc', '-O1', '-o', program, source, *flags.stdout.split()], check=True)
        self.start(lab, f'sofia-{port}', f'{program} {lab.address("gateway")} {port} {over}').wait_socket(over, port)

    @staticmethod
    def version():
        return _said('pkg-config', '--modversion', 'sofia-sip-ua').replace('devel', '').replace('unknown', '')


class AsteriskAgent(Agent):
    """The installed one, or the command that KAMSYNC_ASTERISK has (tests/asterisk.sh). Its dialplan waits for a variable."""
    name, command = 'Asterisk (PJSIP)', os.environ.get('KAMSYNC_ASTERISK', 'asterisk').split()
    modules = ('pbx_config', 'app_verbose', 'bridge_simple', 'res_timing_timerfd', 'res_rtp_asterisk', 'codec_ulaw', 'chan_pjsip',
               'res_pjproject', 'res_sorcery_config', 'res_sorcery_memory', 'res_sorcery_astdb', 'res_pjsip', 'res_pjsip_pubsub', 'res_pjsip_session',
               'res_pjsip_sdp_rtp', 'res_pjsip_endpoint_identifier_anonymous')

    def __init__(self, lab, port, case, over):
        self.folder = lab.new_directory('asterisk')
        root = shutil.which(self.command[-1]).removesuffix('/usr/sbin/asterisk')
        [modules] = glob.glob(f'{root}/usr/lib/*/asterisk/modules')
        own = ''.join(f'ast{name}dir => {self.folder}\n' for name in ('etc', 'varlib', 'db', 'key', 'agi', 'spool', 'run', 'log'))
        self._write('asterisk', f'[directories]\n{own}astmoddir => {modules}\nastdatadir => {root}/usr/share/asterisk\n')
        self._write('modules', '[modules]\nautoload=no\n' + ''.join(f'load => {name}.so\n' for name in self.modules))
        self._write('pjsip', f'[bound]\ntype=transport\nprotocol={over}\nbind={lab.address("gateway")}:{port}\n'
                             '[anonymous]\ntype=endpoint\ncontext=default\nallow=!all,ulaw\n')
        self._write('extensions', '[default]\nexten => _[a-z].,1,Ringing()\nsame => n(wait),Wait(0.05)\n'
                                  'same => n,GotoIf($["${ORDER}" = "answer"]?answer)\n'
                                  'same => n,GotoIf($["${ORDER}" = "reject"]?reject:wait)\n'
                                  'same => n(answer),Answer()\nsame => n,Wait(60)\nsame => n(reject),Hangup(17)\n')
        lab.start('gateway', f'asterisk-{port}', [*self.command, '-C', f'{self.folder}/asterisk.conf', '-f']).wait_socket(over, port)
        self._tell('core waitfullybooted')

    @classmethod
    def version(cls):
        return _said(*cls.command, '-V')

    def _write(self, name, text):
        with open(f'{self.folder}/{name}.conf', 'w') as file:
            file.write(text)

    def _tell(self, order):
        subprocess.run([*self.command, '-C', f'{self.folder}/asterisk.conf', '-rx', order], check=True, capture_output=True, timeout=20)

    def answer(self):
        self._tell('dialplan set global ORDER answer')

    def reject(self):
        self._tell('dialplan set global ORDER reject')


AGENTS = (SippAgent, StrictSippAgent, KamailioAgent, BaresipAgent, LinphoneAgent, TwinkleAgent, SofiaAgent, AsteriskAgent)
