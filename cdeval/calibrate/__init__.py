"""The calibration of the expert's own exits: CALM's threshold, chosen so that a guarantee holds."""
