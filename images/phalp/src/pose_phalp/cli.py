"""The command: reads options, runs a subcommand, turns failures into exit codes and one line that a machine can read."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import List, Optional, Union

from pose_phalp import clips, log
from pose_phalp.errors import EngineError, Failure, classify
from pose_phalp.options import EngineOptions, Parser, RunOptions, parse_preflight, parse_run

SIGTERM_EXIT = 128 + signal.SIGTERM
PARTIAL = (".overlay", ".phalp", ".pose", ".smpl")  # how files begin that a run has not finished
USAGE = "pose-phalp run|preflight|check [options]; each explains itself with --help"


def dispatch(arguments: List[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        Parser(prog="pose-phalp", usage=USAGE).print_help()
        return 0 if arguments else Failure.USAGE.value
    name, rest = arguments[0], arguments[1:]
    if name == "run":
        run(parse_run(rest))
        return 0
    if name == "preflight":
        chosen = parse_preflight(rest)
        stop_on_sigterm([])
        from pose_phalp.run import preflight
        preflight(chosen)
        return 0
    if name == "check":
        from pose_phalp import check
        return check.main(rest)
    raise EngineError(Failure.USAGE, f"there is no command {name!r}: {USAGE}")


def run(options: Union[RunOptions, EngineOptions]) -> None:
    single = isinstance(options, RunOptions)
    unfinished: List[Path] = [options.output_dir] if single else []
    stop_on_sigterm(unfinished)
    queue = None if single else clips.take()
    from pose_phalp.run import run_one, run_queue
    run_one(options) if single else run_queue(options, queue, unfinished)


def stop_on_sigterm(folders: List[Path]) -> None:
    """Ends the process with 143 when it is told to stop, also in the middle of a long step of a network.

    A handler in Python would wait for that step, a minute and more on a CPU. So the signal is blocked in every thread, and
    one waits for it. Temporary files in the folders are removed first.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        remove_partial(folders)
        log.say("stopped signal=SIGTERM")
        os._exit(SIGTERM_EXIT)

    threading.Thread(target=wait, daemon=True).start()


def remove_partial(folders: List[Path]) -> None:
    """Removes what the run has begun to write and not finished."""
    try:
        for path in [path for folder in folders for path in folder.iterdir()]:
            if path.name.startswith(PARTIAL) and path.is_file():
                path.unlink()
    except OSError:
        pass  # the process ends now, whatever happens


def main(arguments: Optional[List[str]] = None) -> int:
    try:
        return dispatch(sys.argv[1:] if arguments is None else arguments)
    except EngineError as error:
        log.error(error)
        return error.failure.value
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the last line of defence: never a bare traceback without a code
        failure = classify(error)
        if failure.failure is Failure.INTERNAL:
            try:
                traceback.print_exc()
            except Exception:
                pass  # upstream may have closed the streams; the line below goes to a descriptor of our own
        log.error(failure)
        return failure.failure.value
