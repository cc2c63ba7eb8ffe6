"""A pytest session that runs its tests once, and then those that reach a change again and again, each in a fork.

Everything is imported, and every test run and watched, once. Then some workers are forked, each with a database of
its own, and each worker forks once more for each change. A change is made in that fork's own memory - the code of one
function is replaced, or one statement of a module is run anew - so that it costs what its first failing test costs.
"""

from __future__ import annotations

import ast
import gc
import inspect
import json
import os
import signal
import sys
import time
import traceback
import types
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import coverage
import pytest
from _pytest.runner import runtestprotocol

from proofs.mutants import mutations
from proofs.mutants.mutations import Mutant

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 40.0
# What coverage calls the time before the first test.
ON_IMPORT = ""


@dataclass
class Session:
    """What is to be tried: of the changes of the modules at some paths, those of some numbers."""

    sources: Sequence[Path]
    jobs: int
    slowest: float
    budget: float
    say: Callable[[dict[str, Any]], None]
    wanted: frozenset[int]
    seconds: dict[str, float] = field(default_factory=dict)
    killers: dict[tuple[str, str | None], Counter[str]] = field(default_factory=dict)

    def run(self, tests: Sequence[str]) -> int:
        """Run everything; return pytest's exit status."""
        self._coverage = coverage.Coverage(
            data_file=None, branch=True, config_file=False, include=[str(path) for path in self.sources]
        )
        self._coverage.start()
        # Nothing is captured: what a fork says goes nowhere, and the results have a way of their own.
        options = ["-q", "-s", "-p", "no:cacheprovider", "--no-header", "--tb=native"]  # others cost more than the test
        return int(pytest.main([*tests, *options], plugins=[self]))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what needs a window: a browser is slow, and lives in no fork."""
        items[:] = [item for item in items if "chromium" not in getattr(item, "fixturenames", ())]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's own loop."""
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors while the tests were collected")
        items = session.items
        self._mutants = list(self._find())  # now, so that whoever edits the code meanwhile disturbs nothing
        for item, following in zip(items, [*items[1:], None], strict=True):
            self._run_once(item, following)
        self._coverage.stop()
        self._say_coverage()
        for nodeid, seconds in self.seconds.items():
            if seconds > self.slowest:
                self.say({"left_out": nodeid, "seconds": seconds})
        data = self._coverage.get_data()  # a fork finds it empty
        self._contexts = {path: data.contexts_by_lineno(str(path)) for path in self.sources}
        gc.freeze()  # so that forks share what is in memory
        workers = [_fork(partial(self._work, session, items, share)) for share in range(self.jobs)]
        statuses = [os.waitpid(worker, 0)[1] for worker in workers]
        if any(statuses):
            raise pytest.UsageError("a worker has failed")
        return True

    def _work(self, session: pytest.Session, items: Sequence[pytest.Item], share: int) -> int:
        """Try every change of a share; the first test is run once more, to set up what the forks are to share."""
        all_but_what_is_shared: Any = session
        if any(r.failed for r in runtestprotocol(items[0], nextitem=all_but_what_is_shared, log=False)):
            return 1
        for turn, number in enumerate(sorted(self.wanted)):
            if turn % self.jobs == share:
                path, tree, mutant = self._mutants[number]
                reaching = self._reaching(path, mutant, items)
                end, killer = self._try(path, tree, mutant, reaching)
                if killer:
                    self._killers_of(path, mutant.where)[killer] += 1
                    self._killers_of(path, None)[killer] += 1
                self.say(
                    {
                        "number": number,
                        "module": path.relative_to(ROOT).as_posix(),
                        "where": mutant.where,
                        "line": mutant.lines[0],
                        "change": mutant.change,
                        "twin": sum(m.change == mutant.change for p, _, m in self._mutants[:number] if p == path),
                        "tests": len(reaching),
                        "end": end,
                        "by": killer,
                    }
                )
        session._setupstate.teardown_exact(None)  # its database goes with it
        return 0

    def _run_once(self, item: pytest.Item, following: pytest.Item | None) -> None:
        self._coverage.switch_context(item.nodeid)
        started = time.process_time()  # a busy machine makes no test slow
        failed = [report for report in runtestprotocol(item, nextitem=following, log=False) if report.failed]
        self.seconds[item.nodeid] = time.process_time() - started
        if failed:
            raise pytest.UsageError(f"{item.nodeid} fails without any change:\n{failed[0].longreprtext}")

    def _say_coverage(self) -> None:
        data = self._coverage.get_data()
        for path in self.sources:
            if str(path) not in data.measured_files():
                continue
            numbers = self._coverage._analyze(str(path)).numbers
            _, _, _, missing, _ = self._coverage.analysis2(str(path))
            partial = {
                line: [end for end in ends if end > 0]
                for line, ends in self._coverage._analyze(str(path)).missing_branch_arcs().items()
            }
            self.say(
                {
                    "covered": path.relative_to(ROOT).as_posix(),
                    "lines": numbers.n_statements,
                    "branches": numbers.n_branches,
                    "missing": missing,
                    "partial": partial,
                }
            )

    def _find(self) -> Iterable[tuple[Path, ast.Module, Mutant]]:
        for path in self.sources:
            tree = ast.parse(path.read_text(), str(path))
            for mutant in mutations.find(tree):
                yield path, tree, mutant

    def _reaching(self, path: Path, mutant: Mutant, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Return the tests that reach a change: what killed others of its function, of its module, then all in turn.

        What runs when a module is imported is reached by all tests that reach the module.
        """
        contexts = self._contexts[path]
        first, last = mutant.lines
        reached = {context for line in range(first, last + 1) for context in contexts.get(line, ())}
        if not mutant.where or ON_IMPORT in reached:
            reached = {context for tests in contexts.values() for context in tests}
        found = [item for item in items if item.nodeid in reached and self.seconds[item.nodeid] <= self.slowest]
        found.sort(key=lambda item: self.seconds[item.nodeid])
        spent: dict[Path, float] = defaultdict(float)
        turns = {}
        for item in found:  # those of one file are much alike: each file gets as much time, for its fastest first
            spent[item.path] += self.seconds[item.nodeid]
            turns[item.nodeid] = spent[item.path]
        kills, near = self._killers_of(path, mutant.where), self._killers_of(path, None)
        return sorted(found, key=lambda item: (-kills[item.nodeid], -near[item.nodeid], turns[item.nodeid]))

    def _is_run_on_import(self, path: Path, tree: ast.Module, mutant: Mutant) -> bool:
        """Tell whether the function that is changed made something while its module was imported."""
        made = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == mutant.where]
        lines = [line for node in made for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)]
        return any(ON_IMPORT in self._contexts[path].get(line, ()) for line in lines)

    def _killers_of(self, path: Path, where: str | None) -> Counter[str]:
        """Count what killed faults of one function, or with None those of the whole module."""
        return self.killers.setdefault((str(path), where), Counter())

    def _try(self, path: Path, tree: ast.Module, mutant: Mutant, items: Sequence[pytest.Item]) -> tuple[str, str]:
        """Return how a change ended, and the test that killed it."""
        if not items:
            return "unreached", ""
        heard, said = os.pipe()

        def child() -> int:
            _be_quiet()
            end, killer = self._die_or_survive(path, tree, mutant, items)
            os.write(said, killer.encode())
            return end

        number = _fork(child)
        os.close(said)
        _, status = os.waitpid(number, 0)
        os.set_blocking(heard, False)  # something that the tests started may hold the other end
        try:
            killer = os.read(heard, 65536).decode()
        except BlockingIOError:
            killer = ""
        os.close(heard)
        if os.WIFSIGNALED(status):
            return "timeout", killer
        return {0: "survived", 1: "killed"}.get(os.WEXITSTATUS(status), "broken"), killer

    def _die_or_survive(
        self, path: Path, tree: ast.Module, mutant: Mutant, items: Sequence[pytest.Item]
    ) -> tuple[int, str]:
        """Run tests with a change until one fails or the budget is spent; return the exit status, and which failed."""
        try:
            mutant.switch_on()
            _apply(path, tree, mutant, on_import=self._is_run_on_import(path, tree, mutant))
        except LookupError:
            return 2, ""
        except Exception:
            return 1, ""  # the module could not even be loaded
        left = self.budget
        for item, following in zip(items, [*items[1:], items[0]], strict=True):
            expected = self.seconds[item.nodeid]
            left -= expected
            if left < 0 and item is not items[0]:
                break
            signal.setitimer(signal.ITIMER_PROF, 2 + 4 * expected)  # for what runs round in circles
            signal.alarm(int(PATIENCE + 20 * expected))  # for what waits for itself
            try:
                if any(report.failed for report in runtestprotocol(item, nextitem=following, log=False)):
                    return 1, item.nodeid
            except BaseException:
                return 1, item.nodeid
        return 0, ""


def _fork(work: Callable[[], int]) -> int:
    """Do some work in another process, which ends with what it returns; return its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # threads of fixtures that have ended
        child = os.fork()
    if child == 0:
        try:
            os._exit(work())
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    return child


def _be_quiet() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _apply(path: Path, tree: ast.Module, mutant: Mutant, *, on_import: bool) -> None:
    module = sys.modules[path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")]
    if mutant.where:
        function = _function(module, mutant.where)
        function.__code__ = _code(compile(tree, str(path), "exec"), mutant.where)
        statements = _what_follows_from({mutant.where}, tree.body) if on_import else []
    else:
        following = tree.body[tree.body.index(mutant.statement) + 1 :]
        statements = [mutant.statement, *_what_follows_from(_names_in(mutant.statement, ast.Store), following)]
    before = dict(module.__dict__)
    exec(compile(ast.Module(statements, []), str(path), "exec"), module.__dict__)  # noqa: S102
    changed = {name: old for name, old in before.items() if module.__dict__.get(name) is not old}
    for other in list(sys.modules.values()):
        for name, old in changed.items():
            if getattr(other, "__dict__", {}).get(name, _NOTHING) is old:
                setattr(other, name, module.__dict__[name])


def _what_follows_from(names: set[str], statements: Iterable[ast.stmt]) -> list[ast.stmt]:
    """Return those of a module's statements that are made from some names, or from what is made from them."""
    chosen: list[ast.stmt] = []
    for statement in statements:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and names & _names_in(statement, ast.Load):
            chosen.append(statement)
            names |= _names_in(statement, ast.Store)
    return chosen


def _names_in(statement: ast.stmt, context: type[ast.expr_context]) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


_NOTHING = object()


def _function(module: types.ModuleType, where: str) -> types.FunctionType:
    found: Any = module
    for name in where.split("."):
        found = inspect.getattr_static(found, name)
    found = getattr(found, "fget", None) or getattr(found, "__func__", None) or found
    found = inspect.unwrap(found)
    if not isinstance(found, types.FunctionType):
        raise LookupError(where)
    return found


def _code(code: types.CodeType, where: str) -> types.CodeType:
    for name in where.split("."):
        code = next(c for c in code.co_consts if isinstance(c, types.CodeType) and c.co_name == name)
    return code


def main(order: dict[str, Any]) -> int:
    """Do the work and write each result as a line of JSON."""
    with Path(order["results"]).open("a") as results:

        def say(result: dict[str, Any]) -> None:
            results.write(json.dumps(result) + "\n")
            results.flush()

        session = Session(
            [ROOT / source for source in order["sources"]],
            order["jobs"],
            order["slowest"],
            order["budget"],
            say,
            frozenset(order["wanted"]),
        )
        return session.run(order["tests"])


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
