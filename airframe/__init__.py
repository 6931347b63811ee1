"""From logits to an answer: training, calibration, decision, records. Above `models`, `data`."""

__version__ = "0.1.0"
