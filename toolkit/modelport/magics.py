"""The magics: the command line's commands, with the notebook's variables at hand."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class

from modelport import cli
from modelport.cli import common
from modelport.documents import STDIN
from modelport.errors import ModelportError, UsageError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PREFIX = "kserve_"
COMMANDS = (
    *("deploy", "predict", "status", "delete", "benchmark", "explain", "certify"),
    *("apply", "get", "describe", "logs", "events", "scale", "stop", "start", "rollout", "lint"),
)
# What completes a command's first word, where that is not a service.
_FIRST_WORDS: dict[str, Callable[[str], list[str]]] = {
    "deploy": common.complete_models,
    "certify": common.complete_models,
    "benchmark": common.complete_targets,
    "apply": lambda _: [],
    "lint": lambda _: [],
}


@magics_class
class ModelportMagics(Magics):  # type: ignore[misc]  # IPython ships no type information
    """Deploy models from a cell."""

    @line_magic
    def kserve_deploy(self, line: str) -> object:
        return self._run("deploy", line)

    @line_magic
    def kserve_predict(self, line: str) -> object:
        return self._run("predict", line)

    @line_magic
    def kserve_status(self, line: str) -> object:
        return self._run("status", line)

    @line_magic
    def kserve_delete(self, line: str) -> object:
        return self._run("delete", line)

    @line_magic
    def kserve_benchmark(self, line: str) -> object:
        return self._run("benchmark", line)

    @line_magic
    def kserve_certify(self, line: str) -> object:
        return self._run("certify", line)

    @line_magic
    def kserve_explain(self, line: str) -> object:
        return self._run("explain", line)

    @line_cell_magic
    def kserve_apply(self, line: str, cell: str | None = None) -> object:
        return self._run("apply", line, cell)

    @line_magic
    def kserve_get(self, line: str) -> object:
        return self._run("get", line)

    @line_magic
    def kserve_describe(self, line: str) -> object:
        return self._run("describe", line)

    @line_magic
    def kserve_logs(self, line: str) -> object:
        return self._run("logs", line)

    @line_magic
    def kserve_events(self, line: str) -> object:
        return self._run("events", line)

    @line_magic
    def kserve_scale(self, line: str) -> object:
        return self._run("scale", line)

    @line_magic
    def kserve_stop(self, line: str) -> object:
        return self._run("stop", line)

    @line_magic
    def kserve_start(self, line: str) -> object:
        return self._run("start", line)

    @line_magic
    def kserve_rollout(self, line: str) -> object:
        return self._run("rollout", line)

    @line_cell_magic
    def kserve_lint(self, line: str, cell: str | None = None) -> object:
        return self._run("lint", line, cell)

    def _run(self, command: str, line: str, cell: str | None = None) -> object:
        variables = self.shell.user_ns
        try:
            words = [command, *_words(line)]
            if cell is not None:
                # The magic's own line is the cell's first.
                words, variables = [*words, "-f", STDIN], {**variables, STDIN: f"\n{cell}"}
            result = cli.run(words, variables)
            if isinstance(result, Iterator):
                _print_each(result)
                return None
        except ModelportError as error:
            _show_release(error)
            raise _in_one_line(error, whole="--traceback" in line) from None
        if isinstance(result, str):
            print(result)  # noqa: T201 - a word on what was done is no value to keep
            return None
        return result.value if isinstance(result, common.Json) else result


def load(shell: InteractiveShell) -> None:
    """Register the magics, with their help and their completion."""
    for name in COMMANDS:
        magic = getattr(ModelportMagics, PREFIX + name)
        magic.__doc__ = _help(cli.program.commands[name])
        shell.set_hook("complete_command", _completer(name), str_key=f"%{PREFIX}{name}")
    shell.register_magics(ModelportMagics)


def _help(command: click.Command) -> str:
    with click.Context(command, info_name=f"%{PREFIX}{command.name}") as context:
        return command.get_help(context)


def _completer(name: str) -> Callable[[Any, Any], list[str]]:
    def complete(shell: InteractiveShell, event: Any) -> list[str]:
        del shell
        word = "" if event.line[-1:].isspace() else event.line.split()[-1]
        # IPython breaks words at @, : and the like, and wants the rest from there on only.
        kept = len(word) - len(event.symbol)
        return [found[kept:] for found in completions(name, event.line.split(), word)]

    return complete


def completions(name: str, words: list[str], word: str) -> list[str]:
    """Complete a word of a magic's line: options, model references and services.

    Args:
        name: The command.
        words: All words of the line up to the cursor, the magic's name first.
        word: The last of them, if the cursor stands at its end; empty for a new word.
    """
    command = cli.program.commands[name]
    before = words[:-1] if word else words
    if isinstance(command, click.Group):
        if len(before) == 1:
            return [one for one in command.commands if one.startswith(word)]
        command, before = command.commands.get(before[1], command), before[1:]
    if word.startswith("-"):
        options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
        return [option for option in options if option.startswith(word)]
    if before[-1] == "--name":
        return common.complete_services(word)
    if before[-1] in ("-n", "--namespace"):
        return common.complete_namespaces(word)
    first = _FIRST_WORDS.get(name, common.complete_services)
    return first(word) if len(before) == 1 else []


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the line does not read ({error})", "close the quotation") from error


def _print_each(lines: Iterator[str]) -> None:
    """Print lines as they come; what goes on for ever ends when the kernel is interrupted."""
    with suppress(KeyboardInterrupt):
        for line in lines:
            print(line)  # noqa: T201


def _show_release(error: ModelportError) -> None:
    """Show what is known of a release that stopped, if it got far enough to tell anything."""
    from IPython.display import display

    from modelport.views import Release

    if error.release is not None and error.release.resolution is not None:
        display(Release(error.release))


def _in_one_line(error: ModelportError, *, whole: bool) -> ModelportError:
    """Make IPython show the error as one line, or as the failed step's traceback if asked."""
    if not whole:
        error._render_traceback_ = lambda: [f"modelport: {error}"]  # type: ignore[attr-defined]
    elif error.details:
        details = error.details
        error._render_traceback_ = lambda: [*details.splitlines(), f"modelport: {error}"]  # type: ignore[attr-defined]
    return error
