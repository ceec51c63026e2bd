"""Fits an offload policy to samples of which it is known what the edge, the cloud and people say."""

from cloud_hub.calibration.choose import Candidate
from cloud_hub.calibration.fit import Fitted, calibrate
from cloud_hub.calibration.rows import Calibration, CalibrationError

__all__ = ["Calibration", "CalibrationError", "Candidate", "Fitted", "calibrate"]
