class FullConfig:
    DEFAULTS = {
        "device": "cuda", "train": True, "detect_shots": False, "use_gt": False, "video_seq": None,
        "video": {"source": "", "output_dir": "", "start_frame": -1, "end_frame": 1300},
        "render": {"enable": True, "blur_faces": False, "res": 256, "up_scale": 2, "output_resolution": 1440},
        "phalp": {"detector": "vitdet", "small_w": 50, "small_h": 100, "n_init": 5, "max_age_track": 50, "shot": 0},
    }
