"""All that is specific to this plant: readings, cells, CSV, data contract, features, simulator."""
