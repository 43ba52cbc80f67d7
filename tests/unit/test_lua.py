"""The Lua scripts of the store: Redis takes each, and is sent all of it but the comments."""
import glob
import os
import re
import socket
import subprocess
import sys
import time

import pytest

IO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "daemon", "io")
SCRIPTS = sorted(glob.glob(IO + "/*.lua"))
sys.path.insert(0, IO)
import lua_text  # noqa: E402


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """What Redis says to SCRIPT LOAD."""
    directory = tmp_path_factory.mktemp("redis")
    path = str(directory / "socket")
    server = subprocess.Popen([os.environ["REDIS_SERVER"], "--port", "0", "--unixsocket", path, "--save", "", "--dir", directory],
                              stdout=subprocess.DEVNULL)
    with socket.socket(socket.AF_UNIX) as s:
        for _ in range(500):
            if s.connect_ex(path) == 0:   # the socket is there a moment before it listens
                break
            time.sleep(0.01)

        def ask(text):
            words = [b"SCRIPT", b"LOAD", text.encode()]
            s.sendall(b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            answer = b""
            while not answer.endswith(b"\r\n"):
                answer += s.recv(4096)
            return answer.decode()
        yield ask
    server.kill()
    server.wait()


def test_there_are_scripts():
    assert SCRIPTS


@pytest.mark.parametrize("path", SCRIPTS, ids=os.path.basename)
def test_redis_takes_it(load, path):
    assert re.fullmatch(r"\$40\r\n[0-9a-f]{40}\r\n", load(lua_text.sent(read(path))))


def test_redis_names_the_line_of_the_file(load):
    assert "user_script:3:" in load(lua_text.sent("-- a comment\n\n  local = 1\n"))


@pytest.mark.parametrize("path", SCRIPTS, ids=os.path.basename)
def test_its_top_says_what_goes_in_and_comes_out(path):
    top = read(path).split("\n\n")[0].splitlines()
    assert all(line.startswith("--") for line in top)
    assert re.findall(r"^-- (KEYS|ARGV|Answer)\b", "\n".join(top), re.M) == ["KEYS", "ARGV", "Answer"]
    assert any(line.startswith("-- Why ") for line in top)


@pytest.mark.parametrize("path", SCRIPTS, ids=os.path.basename)
def test_what_is_built_in_is_the_code_without_the_comments(path, tmp_path):
    lua_text.main(path, tmp_path / "out.c")
    source = tmp_path / "show.c"
    name = os.path.basename(path).replace(".", "_")
    source.write_text(f'#include "out.c"\n#include <stdio.h>\nint main(void) {{ return fputs({name}, stdout) < 0; }}\n')
    subprocess.run(["cc", "-o", tmp_path / "show", source], check=True)
    built = subprocess.run([tmp_path / "show"], capture_output=True, text=True, check=True).stdout
    code = [line.strip() for line in read(path).splitlines()]
    assert built.splitlines() == ["" if line.startswith("--") else line for line in code]
    assert "\n--" not in built and len(built) < len(read(path))


def test_backslashes_and_quotes_arrive(tmp_path):
    lua = "return '\\\\d' .. \"%d+\"\n"
    (tmp_path / "a.lua").write_text(lua)
    lua_text.main(str(tmp_path / "a.lua"), tmp_path / "out.c")
    assert '"return \'\\\\\\\\d\' .. \\"%d+\\"\\n"' in (tmp_path / "out.c").read_text()
