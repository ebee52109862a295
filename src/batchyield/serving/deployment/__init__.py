"""Which model serves: model store, rollout, registry of live workers, differences of predictions."""
