"""clang-format and clang-tidy over the C code, bash -n over the scripts, links of the documentation, waits of the tests; one JUnit
case each.

Usage: lint.py BUILD_DIR RESULT.xml"""
import concurrent.futures
import os
import subprocess
import sys
import xml.etree.ElementTree as ET


def files(*patterns):
    return subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
                          check=True, capture_output=True, text=True).stdout.split()


def checks(build):
    yield "clang-format", ["clang-format", "--dry-run", "-Werror", *files("*.c", "*.h")]
    for path in files("daemon/*.c"):
        yield f"clang-tidy {path}", ["clang-tidy", "-p", build, "--quiet", "--warnings-as-errors=*", path]
    for path in ("dev", ".ci/run", "tests/platform.sh", "daemon/ctl/kamsyncctl.bash", "daemon/install_once.sh",
                 *files("debian/*.post*", "docker/*.sh")):
        yield f"bash -n {path}", ["bash", "-n", path]
    yield "links", [sys.executable, "-B", "tests/links.py"]
    yield "waits", [sys.executable, "-B", "tests/waits.py"]


def run_all(named):
    """(name, what came of it), as many at once as there are processors."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda check: (check[0], subprocess.run(check[1], capture_output=True, text=True)), named)


def main(build, result):
    suite = ET.Element("testsuite", name="lint")
    failed = False
    for name, run in run_all(checks(build)):
        case = ET.SubElement(suite, "testcase", classname="lint", name=name)
        if run.returncode:
            failed = True
            text = run.stdout + run.stderr
            ET.SubElement(case, "failure", message=name).text = text
            print(f"{name}: failed\n{text[-3000:]}")
    ET.ElementTree(suite).write(result)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
