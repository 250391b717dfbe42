"""The command line. Every command parses, calls one verb and returns what is to be shown.

The magics run these same commands, with the notebook's variables at hand.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence

import click
from click.shell_completion import get_completion_class

from modelport.cli import files, release, rollout, services
from modelport.cli.common import Json, Variables, shown
from modelport.errors import Interrupted, ModelportError, UsageError

_PROGRAM = "modelport"
_COMPLETE = "_MODELPORT_COMPLETE"
# Exit codes as shells give them for programs that a signal ended.
_INTERRUPTED, _PIPE_CLOSED = 130, 141


@click.group(name=_PROGRAM, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=_PROGRAM)
def program() -> None:
    """From the notebook to production: MLflow model to certified ONNX to KServe service."""


for module in (release, files, services, rollout):
    for command in module.COMMANDS:
        program.add_command(command)


@program.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> object:
    """Print what makes a SHELL complete our words.

    For bash: eval "$(modelport completion bash)"
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"{shell} is not supported", "use bash, zsh or fish")
    return kind(program, {}, _PROGRAM, _COMPLETE).source()


def run(arguments: Sequence[str], variables: Variables | None = None) -> object:
    """Run a command; return what is to be shown, or None where help was printed.

    Args:
        arguments: Words, without the program's name.
        variables: A notebook's variables, which arguments may name.

    Raises:
        ModelportError: One line for the user; a mistake in the words is a `UsageError`.
    """
    try:
        result = program.main(
            list(arguments) or ["--help"],
            prog_name=_PROGRAM,
            standalone_mode=False,
            obj=variables or {},
        )
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        usage = where.command_path if where else _PROGRAM
        raise UsageError(error.format_message().rstrip("."), f"see {usage} --help") from error
    except (click.Abort, KeyboardInterrupt) as error:
        raise Interrupted("stopped", "run it again when you like") from error
    return None if isinstance(result, int) else result


def main() -> None:
    """Run the program."""
    arguments = sys.argv[1:]
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)  # clean up as on Ctrl-C
    if _COMPLETE in os.environ:
        program.main(prog_name=_PROGRAM, complete_var=_COMPLETE)
    try:
        result = run(arguments)
        _print(result)
    except ModelportError as error:
        sys.exit(_fail(error, arguments))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)  # how what goes on for ever is ended
    except BrokenPipeError:
        # Who read our lines has enough of them; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_PIPE_CLOSED)
    # A certificate that failed is a result to show, and a failure to scripts.
    sys.exit(0 if getattr(result, "passed", True) else 1)


def _fail(error: ModelportError, arguments: Sequence[str]) -> int:
    from modelport.views import Release

    if error.release is not None and error.release.resolution is not None:
        _print(shown(Release(error.release), as_json="--json" in arguments))
    if "--traceback" in arguments:
        import traceback

        print(error.details or "".join(traceback.format_exception(error)), file=sys.stderr)  # noqa: T201
    print(f"modelport: {error}", file=sys.stderr)  # noqa: T201
    if isinstance(error, Interrupted):
        return _INTERRUPTED
    return 2 if isinstance(error, UsageError) else 1


def _print(result: object) -> None:
    from modelport import render

    if isinstance(result, Json):
        print(json.dumps(result.value, indent=2))  # noqa: T201
    elif hasattr(result, "__rich__"):
        render.show(result.__rich__())
    elif isinstance(result, Iterator):
        for line in result:
            print(line, flush=True)  # noqa: T201
    elif result is not None:
        print(result)  # noqa: T201
