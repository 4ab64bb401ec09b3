"""Running a study: batches, workers, engines and the folder of results."""
