"""The user's OpenPose program: started, watched by the files that it writes, and ended."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time

from pose_openpose.people import read_people
from pose_openpose.report import EngineError, Failure

# Of BODY_25 below the model folder, by OpenPose's own layout.
MODEL_FILES = ("pose/body_25/pose_deploy.prototxt", "pose/body_25/pose_iter_584000.caffemodel")
MAX_MODEL = 2 << 30
POLL_SECONDS = 0.2
GRACE_SECONDS = 5.0
_FILE = re.compile(r"_([0-9]{1,12})_keypoints\.json$")


def check_program(program):
    """The program's path, or an error that says what to set."""
    found = shutil.which(str(program))
    if found is None:
        raise EngineError(Failure.IMAGE_UNSUITABLE, "no program {} in {}: name it by --openpose, and set the variant's "
                                                    "workingDir to OpenPose's folder".format(program, os.getcwd()))
    return found


def model_digests(folder):
    """(name, sha256) of the files of BODY_25; a missing one is named with the place where it belongs."""
    digests = []
    for name in MODEL_FILES:
        path, digest = folder / name, hashlib.sha256()
        try:
            if path.stat().st_size > MAX_MODEL:
                raise EngineError(Failure.MODEL_UNREADABLE, "model file {} is larger than {} MiB".format(path, MAX_MODEL >> 20))
            with open(str(path), "rb") as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    digest.update(block)
        except OSError as failure:
            raise EngineError(Failure.MODEL_UNREADABLE, "cannot read model file {}: {}. OpenPose's models/getModels.sh fetches "
                              "it; mount it there or set --model-folder".format(path, failure.strerror)) from None
        digests.append((path.name, digest.hexdigest()))
    return digests


def command(options, program, folder):
    """OpenPose's argv. People are not limited here: number_people_max cuts each frame by itself, and may cut the one who is
    looked for."""
    argv = [program, "--video", str(options.video), "--write_json", str(folder), "--display", "0", "--render_pose", "0",
            "--model_pose", "BODY_25", "--model_folder", str(options.model_folder) + os.sep]
    if options.net_resolution:
        argv += ["--net_resolution", options.net_resolution]
    return argv


class Program:
    """A running OpenPose. Its own words go straight to the log, where the operator's rules read them."""

    def __init__(self, argv, folder):
        self._folder = folder
        try:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
        except OSError as failure:
            raise EngineError(Failure.IMAGE_UNSUITABLE, "cannot start {}: {}".format(argv[0], failure.strerror)) from None

    def frames(self, width, height):
        """People of one frame after the other, as the files come; each file is removed once read, so the disk stays empty.

        A file is complete when there is one of a later frame, or the program has ended.
        """
        following = 0
        while True:
            ended = self._process.poll() is not None
            waiting = self._waiting()
            ready = sorted(waiting) if ended else sorted(waiting)[:-1]
            for number in ready:
                if number != following:
                    raise EngineError(Failure.RESULT_INVALID,
                                      "OpenPose wrote no file for frame {}, but one for frame {}".format(following, number))
                yield read_people(waiting[number], width, height)
                waiting[number].unlink()
                following += 1
            if ended:
                self._check_end()
                return
            if not ready:
                time.sleep(POLL_SECONDS)

    def _waiting(self):
        """Files by frame number."""
        numbered = ((_FILE.search(path.name), path) for path in self._folder.iterdir())
        return {int(match.group(1)): path for match, path in numbered if match}

    def _check_end(self):
        code = self._process.returncode
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            raise EngineError(Failure.OPENPOSE_FAILED, "OpenPose was ended by {}".format(name), signal=-code)
        if code > 0:
            raise EngineError(Failure.OPENPOSE_FAILED,
                              "OpenPose ended with exit code {}: its own words stand above".format(code))

    def stop(self):
        """Ends it, by force if it does not heed a request."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
