"""Adds up the JUnit files of folders: the names of what failed, then the line 'N passed, N failed'. Exit status 1 if anything
failed."""
import glob
import sys
import xml.etree.ElementTree as ET


def outcome(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def main(folders):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for path in sorted(path for folder in folders for path in glob.glob(folder + "/*.xml")):
        for case in ET.parse(path).getroot().iter("testcase"):
            result = outcome(case)
            count[result] += 1
            if result == "failed":
                print(f"FAILED {case.get('classname', '')} {case.get('name')}")
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    print(f"{count['passed']} passed, {count['failed']} failed{skipped}")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
