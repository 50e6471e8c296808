"""The ``briquette`` command: run it, turn errors into a message and an exit code, leave quickly.

Nothing is imported before ``set_up`` has been called that could be imported after it.
"""

from __future__ import annotations

import os
import sys
import threading

from briquette.cli.process_setup import arrow_is_mapped, map_arrow_ahead, set_up

CUT_OFF = "the run was cut off; readers see the old dataset or the new one, never a mixture."
_WORDS_OF_A_QUESTION = 3  # ``briquette compact --help``: whatever says more will want rows


def main() -> None:
    """Run the command in ``sys.argv`` and exit with its code."""
    set_up()
    from briquette import cancellation
    from briquette.errors import EXIT_RETRYABLE, BriquetteError, Interrupted

    cancellation.listen()
    from briquette.cli.app import COMMANDS, GROUPS, build
    from briquette.cli.output import fail

    if len(sys.argv) > _WORDS_OF_A_QUESTION:
        map_arrow_ahead()
    asked = sys.argv[1:2]
    try:
        (build(asked) if asked and asked[0] in {*COMMANDS, *GROUPS} else build())()
    except SystemExit as end:
        if cancellation.obeyed():  # run and backfill have said which days are not done
            sys.exit(cancellation.exit_code())
        if end.code == cancellation.INTERRUPTED:  # a second Ctrl-C, which typer has taken
            fail("Interrupted", CUT_OFF, "Run it again: it begins anew.", cancellation.INTERRUPTED)
        raise
    except Interrupted as error:
        fail(error.name, error.message, error.hint, cancellation.exit_code())
    except BriquetteError as error:
        fail(error.name, error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:
        fail("Interrupted", CUT_OFF, "Run it again: it begins anew.", cancellation.INTERRUPTED)
    except MemoryError:
        fail("MemoryError", "the machine ran out of memory.", "Pass --memory-limit.", EXIT_RETRYABLE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_RETRYABLE)


def program() -> None:
    """Entry point of the console script: ``main``, and then out without taking the libraries down.

    Unloading them one by one takes 0.07 s and changes nothing: what is published lies on disk.
    Where threads or clusters are still there, the interpreter ends as usual, which waits for them.
    """
    code: int | str | None = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    arrow_is_mapped()  # a wrong word ends sooner than that: to leave while the loader works may crash
    alone = threading.active_count() == 1 and not {"distributed", "ray"} & sys.modules.keys()
    if not alone or not isinstance(code, int | None):
        sys.exit(code)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the reader of a pipe is gone: the interpreter has its own way to say so
        sys.exit(code)
    os._exit(code or 0)


if __name__ == "__main__":
    program()
