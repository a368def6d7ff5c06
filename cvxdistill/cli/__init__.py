"""The command line: `cvxdistill VERB`.

Exit codes: 0 done, 2 wrong use or bad input (one line that says what to do), 1 anything else.
"""

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from cvxdistill.cli.common import complain
from cvxdistill.cli.compare import compare_command
from cvxdistill.cli.compress import compress_command
from cvxdistill.cli.distill import distill_command
from cvxdistill.cli.embed import embed_command
from cvxdistill.cli.evaluate import evaluate_command
from cvxdistill.cli.export import export_command
from cvxdistill.cli.import_ import import_command
from cvxdistill.cli.info import info_command
from cvxdistill.cli.solve import solve_command
from cvxdistill.cli.stats import stats_app
from cvxdistill.errors import CvxDistillError, InputError

INTERRUPTED = 130

app = typer.Typer(
    name="cvxdistill",
    help="Closed-form label distillation: synthetic soft labels for a few real examples.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("embed")(embed_command)
stats_app.command("solve")(solve_command)
app.add_typer(stats_app, name="stats")
app.command("distill")(distill_command)
app.command("evaluate")(evaluate_command)
app.command("compare")(compare_command)
app.command("compress")(compress_command)
app.command("export")(export_command)
app.command("import")(import_command)
app.command("info")(info_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: words after the program's name; those of the process when not given.
    """
    command = typer.main.get_command(app)
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        with _terminable():
            result = command.main(
                args=words,
                prog_name="cvxdistill",
                standalone_mode=False,
                obj=("cvxdistill", *words),
            )
    except InputError as error:
        return _fail(str(error), 2)
    except CvxDistillError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted.", INTERRUPTED)
    except Exception as error:
        # Errors of use have a message for users; which class they are of depends on typer's
        # version. Anything else is a fault of ours and shows its traceback.
        if type(error).__name__ == "Abort":
            return _fail("interrupted.", INTERRUPTED)
        show = getattr(error, "format_message", None)
        if show is None:
            raise
        message = show().strip()
        if not message:
            return 2
        return _fail(f"{message.rstrip('.')}. See `cvxdistill {_verb(words)}--help`.", 2)
    # Some versions of typer turn an interrupt into `Abort`, others into its exit code.
    if result == INTERRUPTED:
        return _fail("interrupted.", INTERRUPTED)
    return result if isinstance(result, int) else 0


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM, by which schedulers end jobs, clean up as an interrupt from the keyboard does.

    Checkpoints stay, temporary files and the processes of a comparison do not.
    """
    if threading.current_thread() is not threading.main_thread():
        # Only there can handlers be set.
        yield
        return

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str, code: int) -> int:
    complain(message)
    return code


def _verb(words: Sequence[str]) -> str:
    known = {command.name for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    return f"{words[0]} " if words and words[0] in known else ""
