def _rebuild_tensor_v2(*_arguments):
    raise RuntimeError("nothing of a checkpoint may be called")
