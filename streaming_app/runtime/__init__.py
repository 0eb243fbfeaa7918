"""What surrounds the pipeline in one process: Java, the Spark session, logs."""
