"""The commands `posezoo predict` and `posezoo lift`; the others are in `posezoo.__main__`."""

from posezoo.commands.lift import run_lift
from posezoo.commands.predict import run_predict
from posezoo.commands.sources import DETECTOR

__all__ = ["DETECTOR", "run_lift", "run_predict"]
