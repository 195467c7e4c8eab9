"""How early the expert may stop: CALM's threshold, calibrated so that a guarantee holds."""
