"""A stage of the service on AWS: its stacks brought up and changed, its journal migrated, its state told."""
