"""The ``briquette`` command: run it, turn errors into a message and an exit code.

Nothing is imported before ``set_up`` has been called that could be imported after it.
"""

from __future__ import annotations

import os
import sys

from briquette.cli.process_setup import set_up

CUT_OFF = "the run was cut off; readers see the old dataset or the new one, never a mixture."


def main() -> None:
    """Entry point of the console script: run the command in ``sys.argv`` and exit with its code."""
    set_up()
    from briquette import cancellation
    from briquette.errors import EXIT_RETRYABLE, BriquetteError, Interrupted

    cancellation.listen()
    from briquette.cli.app import COMMANDS, GROUPS, build
    from briquette.cli.output import fail

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


if __name__ == "__main__":
    main()
