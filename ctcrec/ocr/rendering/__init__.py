"""Line images drawn from text in given fonts, and degraded as training degrades lines: see `render.render`."""
