"""Models as the engine sees them: `contract.TaskAdapter` and what implements it."""
