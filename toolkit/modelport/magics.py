"""The magics: the command line's commands, with the notebook's variables at hand."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from IPython.core.magic import Magics, line_magic, magics_class

from modelport import cli
from modelport.errors import ModelportError, UsageError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

PREFIX = "kserve_"
COMMANDS = ("deploy", "predict", "status", "delete", "benchmark", "explain", "certify")
# What completes a command's first word, where that is not a service.
_FIRST_WORDS = {
    "deploy": cli.complete_models,
    "certify": cli.complete_models,
    "benchmark": cli.complete_targets,
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

    def _run(self, command: str, line: str) -> object:
        try:
            result = cli.run([command, *_words(line)], self.shell.user_ns)
        except ModelportError as error:
            _show_release(error)
            raise _in_one_line(error, whole="--traceback" in line) from None
        if isinstance(result, str):
            print(result)  # noqa: T201 - a word on what was done is no value to keep
            return None
        return result.value if isinstance(result, cli.Json) else result


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
    if word.startswith("-"):
        options = [o for p in command.params if isinstance(p, click.Option) for o in p.opts]
        return [option for option in options if option.startswith(word)]
    before = words[:-1] if word else words
    if before[-1] == "--name":
        return cli.complete_services(word)
    first = _FIRST_WORDS.get(name, cli.complete_services)
    return first(word) if len(before) == 1 else []


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"the line does not read ({error})", "close the quotation") from error


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
