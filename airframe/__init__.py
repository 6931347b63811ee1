"""From logits to an answer: training, calibration, decision, records. May import `models` and `data`."""

__version__ = "0.1.0"
