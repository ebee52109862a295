"""Parameters, estimators, training, conformal intervals, metrics, ONNX export and search."""
