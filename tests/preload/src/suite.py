"""PURPOSE: runs modules of python's own test suite and prints one line per test: name and outcome.

Usage: suite.py MODULE[=GLOB,GLOB...]... -- with globs, only the tests whose name matches one.
What the tests print goes to stderr, tracebacks too, so that stdout is comparable between runs.
"""
import fnmatch
import os
import random
import sys
import traceback
import unittest

import test.support

report = os.fdopen(os.dup(1), "w")
os.set_inheritable(report.fileno(), False)
os.dup2(2, 1)
test.support.use_resources = []
random.seed(1)


class Outcomes(unittest.TestResult):
    """Collects an outcome per test; a test whose parts fail is a failure."""

    def __init__(self):
        super().__init__()
        self.of = {}

    def startTest(self, case):
        super().startTest(case)
        self.of[case.id()] = "ok"

    def addError(self, case, err):
        self.trouble(case, "ERROR", err)

    def addFailure(self, case, err):
        self.trouble(case, "FAIL", err)

    def addSubTest(self, case, part, err):
        if err:
            self.trouble(case, "FAIL", err)

    def addSkip(self, case, reason):
        if self.of.get(case.id(), "ok") == "ok":
            self.of[case.id()] = "skipped"

    def addExpectedFailure(self, case, err):
        self.of[case.id()] = "expected failure"

    def addUnexpectedSuccess(self, case):
        self.of[case.id()] = "unexpected success"

    def trouble(self, case, what, err):
        self.of[case.id()] = what
        print(what, case.id(), file=sys.stderr)
        traceback.print_exception(*err)


def wanted(suite, globs):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from wanted(item, globs)
        elif not globs or any(fnmatch.fnmatch(item.id(), g) for g in globs):
            yield item


def main():
    outcomes = Outcomes()
    for argument in sys.argv[1:]:
        name, _, globs = argument.partition("=")
        suite = unittest.defaultTestLoader.loadTestsFromName("test." + name)
        cases = list(wanted(suite, [g for g in globs.split(",") if g]))
        unittest.TestSuite(cases).run(outcomes)
        test.support.reap_children()
    for name, outcome in sorted(outcomes.of.items()):
        print(name, outcome, file=report)
    ok = sum(outcome == "ok" for outcome in outcomes.of.values())
    print(ok, "ok of", len(outcomes.of), file=report)
    report.flush()


if __name__ == "__main__":
    main()
