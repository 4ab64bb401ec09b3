"""Questions with answers and boxes, made from the captions of photos by rule."""
