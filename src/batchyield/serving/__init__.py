"""What inference needs, without HTTP: artifact, predictor, Shapley values, responses."""
