"""Journeys on a real node: the chart, the images and pods of this checkout."""
