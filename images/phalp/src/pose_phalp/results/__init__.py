"""What PHALP found, as the operator's results: pose.json and smpl.npz (docs/pose-json.md).

Call write(frames, meta, output_dir). frames yields a dictionary for each frame that was looked at, in order:

    index    int >= 0, of the prepared video
    time     float, seconds, the source's timestamp; ascending
    people   list of dictionaries, one a person, in any order:
        tid           int >= 1, the tracker's id
        tracked_time  int, 0 where the person is seen now; frames since then otherwise. Upstream repeats the last
                      sighting there: everything else of such an entry is ignored, and the gap filled by interpolation
        bbox          (4,) left, top, width, height in pixels of the frame
        conf          float, the detector's score
        size          (2,) height and width of the frame
        smpl          global_orient (1, 3, 3), body_pose (23, 3, 3), betas (10,)
        camera        (3,) translation of the model in metres for upstream's focal length
        joints3d      (45, 3) metres, in the model's frame
        joints2d      (45, 2) or (90,), shares of the frame padded to a square

meta holds

    width, height, fps     of the prepared video; pixels, frames a second
    frames                 int, frames of the video that the result covers (*)
    source_start           int, number of the first frame in the source video
    stride                 int >= 1: every how many frames one was looked at
    capture_fps            float, 0 where it is fps
    focal_length_px        float, given by the user, 0 where unknown
    upstream_focal_length  float, 5000 if left out: pixels of a square of upstream_resolution (256 if left out)
    max_people             int, 0 for all
    people_filtered        int, detections left out for their size or length, None if nobody counted (*)
    engine_version         str
    device                 "CPU" or "GPU"
    models                 list of {"name", "sha256"}, at most 32
    rest_joints            function from betas (10,) to (24, 3) metres

and a value marked (*) may be a function without arguments, asked when frames has ended.
"""

from pose_phalp.results.writer import write

__all__ = ["write"]
